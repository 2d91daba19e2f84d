"""Running an entry point of this project as a child of the active run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import mlflow
import mlflow.projects
from mlflow import MlflowClient
from mlflow.exceptions import ExecutionException

from odml.errors import TrackingError

PROJECT = Path(__file__).parents[2]


def child_run(entry_point: str, parameters: Mapping[str, object], *, project: Path | None = None) -> str:
    """Run an entry point in this environment, wait for it, and give its run's id.

    The run is a child of the active run, in the same experiment.

    Args:
        entry_point: its name in MLproject.
        parameters: those that are not left to their defaults.
        project: the folder of MLproject, odml's own by default.

    Raises:
        TrackingError: the entry point failed; it has said why on stderr.
    """
    parent = mlflow.active_run()
    if parent is None:
        raise ValueError("a child run needs an active run")
    _put_this_python_first()
    try:
        submitted = mlflow.projects.run(
            str(project or PROJECT),
            entry_point=entry_point,
            parameters={name: str(value) for name, value in parameters.items()},
            experiment_id=parent.info.experiment_id,
            # The default would be the conda that MLproject names, whatever the parent was started with.
            env_manager="local",
            run_name=entry_point,
        )
    except ExecutionException as error:
        raise TrackingError(_failure(entry_point, parent)) from error
    return submitted.run_id


def _put_this_python_first() -> None:
    """Let the command's ``python`` be the one that runs now, even if its environment is not activated."""
    own = str(Path(sys.executable).parent)
    others = os.environ.get("PATH", "").split(os.pathsep)
    if others[0] != own:
        os.environ["PATH"] = os.pathsep.join([own, *others])


def _failure(entry_point: str, parent: mlflow.ActiveRun) -> str:
    condition = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    runs = MlflowClient().search_runs(
        [parent.info.experiment_id], condition, order_by=["attributes.start_time DESC"], max_results=1
    )
    reason = runs[0].data.tags.get("odml.error") if runs else None
    return f"step {entry_point}: {reason or 'failed; its message is above'}"
