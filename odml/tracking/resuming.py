"""Going on in a run that has ended, or was killed."""

from __future__ import annotations

import os

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run, RunStatus
from mlflow.exceptions import MlflowException

from odml.errors import TrackingError
from odml.tracking.processes import Process
from odml.tracking.stores import shown

# Of the end that a resumed run had.
_TAGS_OF_AN_END = ("odml.error", "odml.stop_reason")


def resume_run(run_id: str, operation: str) -> Run:
    """Set a run of an operation going again, and make it the active one.

    ``mlflow run`` has made a run for this process; it is ended, with the tag ``odml.resumes``, and stands in nobody's
    way: no operation looks for one like it.

    Raises:
        TrackingError: no such run, of another operation or experiment, or one that is going on here.
    """
    client = MlflowClient()
    made_by_mlflow = os.environ.pop("MLFLOW_RUN_ID", None)
    if made_by_mlflow:
        client.set_tag(made_by_mlflow, "odml.operation", "resume")
        client.set_tag(made_by_mlflow, "odml.resumes", run_id)
        client.update_run(made_by_mlflow, name=f"resume {run_id[:8]}")
        client.set_terminated(made_by_mlflow)
    try:
        run = client.get_run(run_id)
    except MlflowException:
        raise TrackingError(f"resume: run {run_id} is not in {shown(client.tracking_uri)}; check the id") from None
    found = run.data.tags.get("odml.operation", "another program")
    if found != operation:
        raise TrackingError(f"resume: run {run_id} is one of {found}, not of {operation}; give one of {operation}")
    process = Process.from_tags(run.data.tags)
    # What goes on on another host cannot be seen from here.
    if run.info.status == "RUNNING" and process and process.is_here and process.is_alive():
        raise TrackingError(f"resume: run {run_id} is still going on, in process {process.pid}; stop it first")
    _require_experiment(client, run)
    for name in _TAGS_OF_AN_END:
        if name in run.data.tags:
            client.delete_tag(run_id, name)
    client.update_run(run_id, RunStatus.to_string(RunStatus.RUNNING))
    return mlflow.start_run(run_id=run_id)


def last_steps(run: Run) -> dict[str, int]:
    """Give the last step that each of a run's metrics has."""
    client = MlflowClient()
    return {
        name: max(metric.step for metric in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
    }


def _require_experiment(client: MlflowClient, run: Run) -> None:
    """Raise if ``mlflow run`` works in another experiment than the run's: MLflow would not go on in it."""
    chosen = os.environ.get("MLFLOW_EXPERIMENT_ID")
    if chosen and chosen != run.info.experiment_id:
        name = client.get_experiment(run.info.experiment_id).name
        raise TrackingError(
            f"resume: run {run.info.run_id} is in experiment {name}; add --experiment-name {name} to mlflow run"
        )
