"""The tracking store and the model registry: where they are, and whether they answer."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit, urlunsplit

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from odml.errors import TrackingError, first_line


def prepare_client() -> None:
    """Set MLflow's variables, before the first call, as all that is here needs them.

    A call to a server that is down fails after seconds instead of MLflow's four minutes, unless the user has said
    otherwise. A user and password that are part of a server's address go to the variables that MLflow reads them from
    as well: it prints addresses, but never those.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        address = urlsplit(os.environ.get(variable, ""))
        if address.scheme in ("http", "https") and address.username is not None:
            os.environ.setdefault("MLFLOW_TRACKING_USERNAME", unquote(address.username))
            os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", unquote(address.password or ""))
            os.environ[variable] = shown(address.geturl())


def shown(uri: str) -> str:
    """Give a store's URI as it may be printed: without user and password, and without what a database is asked for."""
    address = urlsplit(uri)
    if not address.netloc:
        return uri
    return urlunsplit((address.scheme, address.netloc.rpartition("@")[2], address.path, "", ""))


def open_store() -> str:
    """Give the URI of the tracking store, made if it is MLflow's default and not there yet.

    Raises:
        TrackingError: it does not answer.
    """
    prepare_client()
    uri = mlflow.get_tracking_uri()
    try:
        MlflowClient().search_experiments(max_results=1)
    except MlflowException as error:
        raise unreachable("tracking store", uri, error) from error
    return shown(uri)


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
    prepare_client()
    uri = mlflow.get_registry_uri()
    try:
        MlflowClient().search_registered_models(max_results=1)
    except MlflowException as error:
        raise unreachable("model registry", uri, error) from error
    return shown(uri)


def unreachable(what: str, uri: str, error: Exception) -> TrackingError:
    """Make the error for a store that does not answer, or that does not let this user in."""
    name = f"{what} {shown(uri)}"
    refused = getattr(error, "error_code", "")
    if refused in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED") or " 401 " in str(error):
        return TrackingError(
            f"{name}: does not know this user and password; check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    if refused == "PERMISSION_DENIED" or " 403 " in str(error):
        return TrackingError(f"{name}: this user is not allowed to do that here; ask who runs the server")
    return TrackingError(f"{name}: {first_line(error)}; check MLFLOW_TRACKING_URI and the server")
