from __future__ import annotations

import subprocess
import sys

import mlflow
import pytest

from odml.errors import TrackingError
from odml.tracking import ongoing_run, ongoing_runs, start_run
from odml.tracking.processes import Process

TRAININGS = ("train", "transfer_learn")


def begin(operation: str, **tags: str) -> str:
    """Leave a run that is running in this process, or where the tags say; give its id."""
    experiment_id = mlflow.get_experiment_by_name("tests").experiment_id
    tags = {"odml.operation": operation, **Process.of_pid().to_tags(), **tags}
    return mlflow.MlflowClient().create_run(experiment_id, tags=tags, run_name=operation).info.run_id


@pytest.fixture
def gone() -> dict[str, str]:
    """The tags of a process of this host that has ended."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        tags = Process.of_pid(child.pid).to_tags()
        child.kill()
    return tags


def test_running_runs_of_the_operations_are_found_the_newest_first(tracking_store):
    with start_run("train"):
        pass
    runs = [begin("train"), begin("transfer_learn")]
    begin("stop")
    assert [run.id for run in ongoing_runs(TRAININGS)] == runs[::-1]


def test_run_of_another_experiment_is_not_found(tracking_store, monkeypatch):
    begin("train")
    mlflow.MlflowClient().create_experiment("other", str(tracking_store))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
    assert ongoing_runs(TRAININGS) == []


def test_experiment_that_does_not_exist_is_an_error_and_is_not_made(tracking_store, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "typo")
    with pytest.raises(TrackingError) as error:
        ongoing_runs(TRAININGS)
    assert str(error.value) == (
        f"experiment typo: is not in sqlite:///{tracking_store}/mlflow.db; "
        "check MLFLOW_EXPERIMENT_NAME and MLFLOW_TRACKING_URI"
    )
    assert mlflow.get_experiment_by_name("typo") is None


def test_run_has_the_process_and_the_step_that_it_has_come_to(tracking_store):
    with start_run("train") as run:
        run.log_metrics({"loss": 1.0}, step=10)
        run.log_metrics({"loss": 0.5}, step=20)
        found = ongoing_run(run.id, TRAININGS)
        assert found.process_here().is_alive()
        assert (found.last_step("loss"), found.last_step("other")) == (20, None)


def test_run_elsewhere_has_no_process_here(tracking_store):
    elsewhere = begin("train", **{"odml.host": "gpu7"})
    with pytest.raises(TrackingError) as error:
        ongoing_run(elsewhere, TRAININGS).process_here()
    assert str(error.value) == f"run {elsewhere}: is on host gpu7; stop it from there"


def test_run_that_does_not_say_where_it_is_has_no_process_here(tracking_store):
    experiment_id = mlflow.get_experiment_by_name("tests").experiment_id
    tags = {"odml.operation": "train"}
    older = mlflow.MlflowClient().create_run(experiment_id, tags=tags).info.run_id
    with pytest.raises(TrackingError) as error:
        ongoing_run(older, TRAININGS).process_here()
    expected = f"run {older}: does not say which process it is; press Ctrl-C in its own terminal"
    assert str(error.value) == expected


def test_id_that_means_no_running_run_of_the_operations_is_refused(tracking_store):
    with start_run("train") as run:
        pass
    own = begin("stop")
    foreign = mlflow.MlflowClient().create_run(run.experiment_id).info.run_id
    for run_id, reason in {
        "0" * 32: f"is not in sqlite:///{tracking_store}/mlflow.db; check the id",
        run.id: "has ended already, FINISHED; there is nothing to stop",
        own: "is a run of stop; give one of train or transfer_learn",
        foreign: "is a run of no operation of odml; give one of train or transfer_learn",
    }.items():
        with pytest.raises(TrackingError) as error:
            ongoing_run(run_id, TRAININGS)
        assert str(error.value) == f"run {run_id}: {reason}"


def test_run_whose_process_is_gone_without_a_word_is_marked_killed(tracking_store, gone):
    zombie = begin("train", **gone)
    found = ongoing_run(zombie, TRAININGS)
    assert not found.process_here().is_alive()
    assert found.close() == "its process ended without telling the tracking store; it is now marked KILLED"
    run = mlflow.get_run(zombie)
    assert run.info.status == "KILLED"
    assert run.data.tags["odml.error"] == "its process ended without telling the tracking store"


def test_run_that_has_ended_says_how(tracking_store):
    with start_run("train") as run:
        stopped = ongoing_run(run.id, TRAININGS)
        run.tag("odml.stop_reason", "SIGTERM step=7")
    assert stopped.close() == "ended, FINISHED (SIGTERM step=7)"
    with start_run("train") as run:
        plain = ongoing_run(run.id, TRAININGS)
    assert plain.close() == "ended, FINISHED"
