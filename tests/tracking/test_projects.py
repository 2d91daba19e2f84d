from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from odml.errors import TrackingError
from odml.tracking import child_run, start_run

MLPROJECT = """
name: scratch
entry_points:
  write:
    parameters:
      text: string
      count: {type: int, default: -1}
    command: python -c 'import sys; open("written", "w").write(repr(sys.argv[1:]))' {text} {count}
  fail:
    command: python -c 'raise SystemExit(3)'
"""


@pytest.fixture
def project(tracking_store: Path) -> Path:
    (tracking_store / "MLproject").write_text(MLPROJECT)
    return tracking_store


def test_entry_point_runs_as_a_child_in_the_same_experiment(project):
    with start_run("main") as run:
        child = child_run("write", {"text": "a b; $(echo)"}, project=project)
    found = mlflow.get_run(child)
    assert found.info.status == "FINISHED"
    assert found.info.experiment_id == run.experiment_id
    assert found.info.run_name == "write"
    assert found.data.tags["mlflow.parentRunId"] == run.id
    assert (project / "written").read_text() == "['a b; $(echo)', '-1']"


def test_step_that_fails_is_named(project):
    with start_run("main"), pytest.raises(TrackingError) as error:
        child_run("fail", {}, project=project)
    assert str(error.value) == "step fail: failed; its message is above"


def test_child_needs_a_parent(tracking_store):
    with pytest.raises(ValueError, match="a child run needs an active run"):
        child_run("check", {})
