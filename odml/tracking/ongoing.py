"""Runs that the tracking store has as running: where they go on, and how they end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import mlflow.entities
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from odml.errors import TrackingError
from odml.tracking.inputs import runs_of
from odml.tracking.processes import Process
from odml.tracking.stores import active_experiment, open_store

RUNNING = "RUNNING"


@dataclass(frozen=True)
class OngoingRun:
    """A run whose status is RUNNING; ``process`` is None if the run does not say which it is."""

    id: str
    name: str
    started: datetime
    process: Process | None

    def last_step(self, metric: str) -> int | None:
        """Give the step of a metric's last value, None if it has none yet."""
        history = MlflowClient().get_metric_history(self.id, metric)
        return max((each.step for each in history), default=None)

    def process_here(self) -> Process:
        """Give its process.

        Raises:
            TrackingError: it is on another host, or unknown.
        """
        if self.process is None:
            raise TrackingError(f"run {self.id}: does not say which process it is; press Ctrl-C in its own terminal")
        if not self.process.is_here:
            raise TrackingError(f"run {self.id}: is on host {self.process.host}; stop it from there")
        return self.process

    def close(self) -> str:
        """Say how it ended, now that its process is gone; if the store does not know, mark it KILLED."""
        run = MlflowClient().get_run(self.id)
        if run.info.status == RUNNING:
            MlflowClient().set_tag(self.id, "odml.error", "its process ended without telling the tracking store")
            MlflowClient().set_terminated(self.id, "KILLED")
            return "its process ended without telling the tracking store; it is now marked KILLED"
        reason = run.data.tags.get("odml.stop_reason") or run.data.tags.get("odml.error")
        return f"ended, {run.info.status}" + (f" ({reason})" if reason else "")


def ongoing_runs(operations: tuple[str, ...]) -> list[OngoingRun]:
    """Give the running runs of the operations in this experiment, the newest first.

    Raises:
        TrackingError: the tracking store does not answer, or has no such experiment.
    """
    experiment_id = active_experiment().experiment_id
    runs = runs_of(MlflowClient(), experiment_id, operations, {})
    return [_ongoing(run) for run in runs if run.info.status == RUNNING]


def ongoing_run(run_id: str, operations: tuple[str, ...]) -> OngoingRun:
    """Give a running run by its id.

    Raises:
        TrackingError: there is no such run, it has ended, or it is of another operation.
    """
    store = open_store()
    try:
        run = MlflowClient().get_run(run_id)
    except MlflowException as error:
        raise TrackingError(f"run {run_id}: is not in {store}; check the id") from error
    operation = run.data.tags.get("odml.operation", "no operation of odml")
    if operation not in operations:
        raise TrackingError(f"run {run_id}: is a run of {operation}; give one of {' or '.join(operations)}")
    if run.info.status != RUNNING:
        raise TrackingError(f"run {run_id}: has ended already, {run.info.status}; there is nothing to stop")
    return _ongoing(run)


def _ongoing(run: mlflow.entities.Run) -> OngoingRun:
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return OngoingRun(run.info.run_id, run.info.run_name, started, Process.from_tags(run.data.tags))
