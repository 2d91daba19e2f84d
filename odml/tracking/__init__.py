"""MLflow at the edge: runs, what they are built on, what they leave behind, the model registry.

The only package that imports MLflow, but for ``odml.serving``.

    runs            one operation is one run: its status, metrics, pictures, artifacts
    resuming        going on in a run that has ended
    ongoing         runs that are running: where, and how they end
    processes       the process that a run goes on in
    inputs          finding the run, folder or registered model that an operation builds on
    folders         a folder of a run that grows while the run goes on
    event_folders   the TensorBoard events of many runs in one folder
    last_words      the end of a process that has no time left to end in good order
    outbox          sending metrics and pictures without ever stopping the work
    system_metrics  what the machine does while a run goes on
    names           metric names that MLflow takes
    registry        logged and registered models
    projects        running an entry point as a child run
    stores          what is reachable
"""

from odml.tracking.event_folders import EventFolders
from odml.tracking.folders import ArtifactFolder
from odml.tracking.last_words import end_at_once
from odml.tracking.ongoing import OngoingRun, ongoing_run, ongoing_runs
from odml.tracking.projects import child_run
from odml.tracking.registry import logged_model, register_model
from odml.tracking.runs import (
    Run,
    artifact_uri,
    given_run,
    input_folder,
    is_run_id,
    metrics_at,
    run_metrics,
    run_tags,
    start_run,
)
from odml.tracking.stores import open_registry, open_store

__all__ = [
    "ArtifactFolder",
    "EventFolders",
    "OngoingRun",
    "Run",
    "artifact_uri",
    "child_run",
    "end_at_once",
    "given_run",
    "input_folder",
    "is_run_id",
    "logged_model",
    "metrics_at",
    "ongoing_run",
    "ongoing_runs",
    "open_registry",
    "open_store",
    "register_model",
    "run_metrics",
    "run_tags",
    "start_run",
]
