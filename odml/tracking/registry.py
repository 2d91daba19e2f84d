"""Models that runs have logged, and the registry that gives them names, versions and aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from odml.errors import TrackingError

_LOGGED = re.compile(r"models:/(?P<id>m-[^/@]+)/?")
_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[^/@]+)|@(?P<alias>[^/@]+))/?")


def logged_model(run_id: str, name: str) -> str:
    """Give the ``models:/`` URI of the model that a run has logged under a name; the newest if there are several.

    Raises:
        TrackingError: the run has logged no such model.
    """
    experiment_id = MlflowClient().get_run(run_id).info.experiment_id
    models = MlflowClient().search_logged_models(
        [experiment_id], filter_string=f"source_run_id = '{run_id}' AND name = '{name}'", max_results=1
    )
    if not models:
        raise TrackingError(f"run {run_id}: has logged no model named {name}; give a run of export_and_freeze")
    return models[0].model_uri


def register_model(model_uri: str, name: str, *, tags: Mapping[str, str], alias: str = "") -> str:
    """Make a logged model the next version of a registered one and move the alias, if any, to it; give the version.

    Raises:
        TrackingError: the registry refuses, for instance a name with a slash.
    """
    try:
        version = mlflow.register_model(model_uri, name, tags=dict(tags)).version
        if alias:
            MlflowClient().set_registered_model_alias(name, alias, version)
    except MlflowException as error:
        raise TrackingError(f"model {name}: cannot be registered ({_first_line(error)})") from error
    return str(version)


def run_of_model(client: MlflowClient, model_uri: str) -> str:
    """Give the id of the run that made a model: ``models:/NAME/VERSION``, ``models:/NAME@ALIAS`` or ``models:/m-ID``.

    Raises:
        TrackingError: the URI has another form, or names nothing.
    """
    logged, registered = _LOGGED.fullmatch(model_uri), _REGISTERED.fullmatch(model_uri)
    try:
        if logged:
            run_id = client.get_logged_model(logged["id"]).source_run_id
        elif registered:
            run_id = _run_of_version(client, _version(client, **registered.groupdict()))
        else:
            raise TrackingError(f"{model_uri}: is no model; write models:/NAME/VERSION or models:/NAME@ALIAS")
    except MlflowException as error:
        raise TrackingError(f"{model_uri}: cannot be found ({_first_line(error)}); see Models in mlflow ui") from error
    if not run_id:
        raise TrackingError(f"{model_uri}: does not say which run made it; pass that run's id")
    return run_id


def _version(client: MlflowClient, *, name: str, version: str | None, alias: str | None) -> ModelVersion:
    return client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, str(version))


def _run_of_version(client: MlflowClient, version: ModelVersion) -> str | None:
    """Follow a version to its logged model, through the versions that it was copied from."""
    source = version.source or ""
    return run_of_model(client, source) if source.startswith("models:/") else version.run_id


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
