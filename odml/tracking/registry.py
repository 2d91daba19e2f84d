"""Models that runs have logged, and the registry that gives them names, versions and aliases."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from odml.errors import TrackingError, first_line
from odml.tracking.stores import unreachable

LONGEST_DESCRIPTION = 5000
"""What the registry's database has room for."""

_CUT = "\n\n…"

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


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model; ``source`` is the ``models:/`` URI of the logged model that it is."""

    name: str
    number: str
    source: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]


def add_version(model_uri: str, name: str, *, tags: Mapping[str, str]) -> str:
    """Make a logged model the next version of a registered one, with the tags, and give its number.

    A model that is a version already stays that one, and gets the tags that are new.

    Raises:
        TrackingError: the registry refuses, for instance a name with a slash.
    """
    with _registering(name):
        client = MlflowClient()
        number = _number_of(client, model_uri, name)
        if number is None:
            return str(mlflow.register_model(model_uri, name, tags=dict(tags)).version)
        for key, value in tags.items():
            client.set_model_version_tag(name, number, key, value)
        return number


def find_version(name: str, alias: str) -> RegisteredVersion | None:
    """Give the version that has an alias, None if none has it or there is no such model.

    Raises:
        TrackingError: the registry does not answer.
    """
    client = MlflowClient()
    try:
        return _described(client.get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise unreachable("model registry", mlflow.get_registry_uri(), error) from error


def version_of(model_uri: str) -> RegisteredVersion | None:
    """Give the version that ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS`` means, None for a logged model's URI.

    Raises:
        TrackingError: the URI has another form, or names nothing.
    """
    registered = _REGISTERED.fullmatch(model_uri)
    if _LOGGED.fullmatch(model_uri):
        return None
    if not registered:
        raise _no_model(model_uri)
    with _finding(model_uri):
        return _described(_version(MlflowClient(), **registered.groupdict()))


def move_alias(name: str, alias: str, number: str) -> None:
    """Let a version have an alias, which any other loses.

    Raises:
        TrackingError: the registry refuses, for instance an alias with a space.
    """
    with _registering(name):
        MlflowClient().set_registered_model_alias(name, alias, number)


def drop_alias(name: str, alias: str) -> None:
    """Take an alias from the version that has it."""
    with _registering(name):
        MlflowClient().delete_registered_model_alias(name, alias)


def describe_version(name: str, number: str, *, tags: Mapping[str, str], description: str) -> None:
    """Set tags and the description, Markdown, that the page of a version shows; over 5000 characters its end is cut."""
    with _registering(name):
        client = MlflowClient()
        for key, value in tags.items():
            client.set_model_version_tag(name, number, key, value)
        client.update_model_version(name, number, _bounded(description))


def run_of_model(client: MlflowClient, model_uri: str) -> str:
    """Give the id of the run that made a model: ``models:/NAME/VERSION``, ``models:/NAME@ALIAS`` or ``models:/m-ID``.

    Raises:
        TrackingError: the URI has another form, or names nothing.
    """
    logged, registered = _LOGGED.fullmatch(model_uri), _REGISTERED.fullmatch(model_uri)
    with _finding(model_uri):
        if logged:
            run_id = client.get_logged_model(logged["id"]).source_run_id
        elif registered:
            run_id = _run_of_version(client, _version(client, **registered.groupdict()))
        else:
            raise _no_model(model_uri)
    if not run_id:
        raise TrackingError(f"{model_uri}: does not say which run made it; pass that run's id")
    return run_id


def _version(client: MlflowClient, *, name: str, version: str | None, alias: str | None) -> ModelVersion:
    return client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, str(version))


def _run_of_version(client: MlflowClient, version: ModelVersion) -> str | None:
    """Follow a version to its logged model, through the versions that it was copied from."""
    source = version.source or ""
    return run_of_model(client, source) if source.startswith("models:/") else version.run_id


def _bounded(text: str) -> str:
    """Cut a text that is too long after a whole line."""
    if len(text) <= LONGEST_DESCRIPTION:
        return text
    return text[: LONGEST_DESCRIPTION - len(_CUT)].rpartition("\n")[0] + _CUT


def _number_of(client: MlflowClient, model_uri: str, name: str) -> str | None:
    """Give the newest version of a registered model that is this logged model."""
    found = client.search_model_versions(f"source_path = '{model_uri}'")
    numbers = [int(each.version) for each in found if each.name == name]
    return str(max(numbers)) if numbers else None


def _described(version: ModelVersion) -> RegisteredVersion:
    # A version that is found by an alias does not always tell its aliases.
    aliases = MlflowClient().get_model_version(version.name, str(version.version)).aliases
    return RegisteredVersion(
        version.name, str(version.version), version.source or "", dict(version.tags), tuple(sorted(aliases))
    )


def _no_model(model_uri: str) -> TrackingError:
    return TrackingError(f"{model_uri}: is no model; write models:/NAME/VERSION or models:/NAME@ALIAS")


@contextmanager
def _registering(name: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        raise TrackingError(f"model {name}: cannot be registered ({first_line(error)})") from error


@contextmanager
def _finding(model_uri: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        raise TrackingError(f"{model_uri}: cannot be found ({first_line(error)}); see Models in mlflow ui") from error
