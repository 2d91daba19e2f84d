"""Addresses of pages of MLflow's UI."""

from __future__ import annotations

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run

from odml.tracking.stores import shown

# Where `make ui` serves a store that has no server of its own.
LOCAL_UI = "http://127.0.0.1:5000"


def ui_address() -> str:
    """Give the address of the UI: that of the tracking server, or where ``mlflow ui`` serves a local store."""
    uri = mlflow.get_tracking_uri()
    return shown(uri).rstrip("/") if uri.startswith("http") else LOCAL_UI


def run_page(run: Run) -> str:
    """Give the page of a run, from the UI's address on, as links between its pages are written."""
    return f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def artifact_page(run: Run, path: str) -> str:
    """Give the page that shows an artifact of a run, from the UI's address on."""
    return f"{run_page(run)}/artifacts/{path}"


def version_page(name: str, number: str) -> str:
    """Give the page of a version of a registered model, from the UI's address on."""
    return f"#/models/{name}/versions/{number}"


def model_page(experiment_id: str, model_id: str) -> str:
    """Give the page of a logged model, from the UI's address on."""
    return f"#/experiments/{experiment_id}/models/{model_id}"


def page_of(run_id: str) -> str:
    """Give the page of a run by its id, from the UI's address on."""
    return run_page(MlflowClient().get_run(run_id))
