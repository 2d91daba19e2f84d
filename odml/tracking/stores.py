"""The tracking store and the model registry: where they are, and whether they answer."""

from __future__ import annotations

import os

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from odml.errors import TrackingError


def bound_retries() -> None:
    """Let a call to a server that is down fail after seconds instead of MLflow's four minutes, unless set."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")


def open_store() -> str:
    """Give the URI of the tracking store, made if it is MLflow's default and not there yet.

    Raises:
        TrackingError: it does not answer.
    """
    bound_retries()
    uri = mlflow.get_tracking_uri()
    try:
        MlflowClient().search_experiments(max_results=1)
    except MlflowException as error:
        raise unreachable("tracking store", uri, error) from error
    return uri


def active_experiment() -> Experiment:
    """Give the experiment that a run started now would be in, by ``mlflow run`` or by MLflow's variables.

    Raises:
        TrackingError: the tracking store does not answer, or has no such experiment.
    """
    uri = open_store()
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "")
    experiment_id = os.environ.get("MLFLOW_EXPERIMENT_ID", "0")
    try:
        client = MlflowClient()
        found = client.get_experiment_by_name(name) if name else client.get_experiment(experiment_id)
    except MlflowException:
        found = None
    if found is None:
        raise TrackingError(
            f"experiment {name or experiment_id}: is not in {uri}; check MLFLOW_EXPERIMENT_NAME and MLFLOW_TRACKING_URI"
        )
    return found


def open_registry() -> str:
    """Give the URI of the model registry.

    Raises:
        TrackingError: it does not answer.
    """
    bound_retries()
    uri = mlflow.get_registry_uri()
    try:
        MlflowClient().search_registered_models(max_results=1)
    except MlflowException as error:
        raise unreachable("model registry", uri, error) from error
    return uri


def unreachable(what: str, uri: str, error: Exception) -> TrackingError:
    """Make the error for a store that does not answer."""
    return TrackingError(f"{what} {uri}: {str(error).splitlines()[0]}; check MLFLOW_TRACKING_URI and the server")
