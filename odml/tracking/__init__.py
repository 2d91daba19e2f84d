"""MLflow at the edge: runs, what they are built on, what they leave behind, the model registry.

The only package that imports MLflow, but for ``odml.serving``.

    runs            one operation is one run: its status, metrics, pictures, artifacts
    contents        what other runs hold: files, tags, metrics
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
    evaluations     how good a checkpoint is, by the runs that have measured it
    run_table       the runs of an experiment, a row each
    lineage         the way from a model back to the photos
    links           addresses of pages of MLflow's UI
    projects        running an entry point as a child run
    stores          what is reachable
"""

from odml.tracking.contents import artifact_text, artifact_uri, input_folder, metrics_at, run_metrics, run_tags
from odml.tracking.evaluations import Measured, evaluations_of, find_evaluation
from odml.tracking.event_folders import EventFolders
from odml.tracking.folders import ArtifactFolder
from odml.tracking.given import find_run, run_settings
from odml.tracking.inputs import is_run_id
from odml.tracking.last_words import end_at_once
from odml.tracking.lineage import Origin, lineage_of
from odml.tracking.links import page_of, ui_address
from odml.tracking.ongoing import OngoingRun, ongoing_run, ongoing_runs
from odml.tracking.projects import child_run
from odml.tracking.registry import (
    RegisteredVersion,
    add_version,
    describe_version,
    drop_alias,
    find_version,
    logged_model,
    move_alias,
)
from odml.tracking.run_table import RunRow, recent_runs
from odml.tracking.runs import Run, given_run, start_run
from odml.tracking.stores import open_registry, open_store

__all__ = [
    "ArtifactFolder",
    "EventFolders",
    "Measured",
    "OngoingRun",
    "Origin",
    "RegisteredVersion",
    "Run",
    "RunRow",
    "add_version",
    "artifact_text",
    "artifact_uri",
    "child_run",
    "describe_version",
    "drop_alias",
    "end_at_once",
    "evaluations_of",
    "find_evaluation",
    "find_run",
    "find_version",
    "given_run",
    "input_folder",
    "is_run_id",
    "lineage_of",
    "logged_model",
    "metrics_at",
    "move_alias",
    "ongoing_run",
    "ongoing_runs",
    "open_registry",
    "open_store",
    "page_of",
    "recent_runs",
    "run_metrics",
    "run_settings",
    "run_tags",
    "start_run",
    "ui_address",
]
