"""Finding what an operation builds on: the latest fitting run, a given run, a folder, a registered model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from odml.errors import TrackingError
from odml.tracking.registry import run_of_model
from odml.tracking.stores import shown

RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Input:
    """Where an input comes from: an artifact of a run, a registered or logged model of a run, or a folder."""

    run_id: str | None = None
    artifact: str = ""
    model_uri: str | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class Wanted:
    """What an operation asks for: the parameter's name, the operations that make it, the artifacts they leave.

    Of several artifacts the first that a run has is taken.
    """

    name: str
    operations: tuple[str, ...]
    artifacts: tuple[str, ...]


def is_run_id(text: str) -> bool:
    """Say whether a text has the form of a run's id, rather than of a folder or a URI."""
    return bool(RUN_ID.fullmatch(text))


def find_input(client: MlflowClient, run: Run, value: str, wanted: Wanted) -> Input:
    """Find the input that a parameter's value means.

    Args:
        client: the tracking store.
        run: the run that asks; it is never its own input.
        value: ``""`` for the latest run in the same experiment that has the artifact, whatever its status;
            otherwise a folder, a run id, or a ``models:/`` URI.
        wanted: what is asked for.

    Raises:
        TrackingError: nothing fits.
    """
    return find_given(client, value, wanted) if value else _latest(client, run, wanted)


def find_given(client: MlflowClient, value: str, wanted: Wanted) -> Input:
    """Find the input that a parameter's value means, as ``find_input`` does where there is a value."""
    if value.startswith("models:/"):
        return replace(_of_run(client, run_of_model(client, value), wanted), model_uri=value)
    if Path(value).is_dir():
        return Input(folder=Path(value).resolve())
    if RUN_ID.fullmatch(value):
        return _of_run(client, value, wanted)
    raise TrackingError(
        f"{wanted.name}: {value!r} is neither a run id nor a folder in {Path.cwd()}; "
        f"give a run of {_either(wanted.operations)} or a folder"
    )


def runs_of(
    client: MlflowClient, experiment_id: str, operations: tuple[str, ...], tags: Mapping[str, str]
) -> Iterator[Run]:
    """Give the experiment's runs of the operations that have all the tags, the newest first."""
    runs: list[Run] = []
    # MLflow's filter language has no OR for tags.
    for operation in operations:
        wanted = {"odml.operation": operation, **tags}
        condition = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())
        runs += client.search_runs([experiment_id], condition, order_by=["attributes.start_time DESC"])
    yield from sorted(runs, key=lambda run: run.info.start_time, reverse=True)


def _latest(client: MlflowClient, run: Run, wanted: Wanted) -> Input:
    for candidate in runs_of(client, run.info.experiment_id, wanted.operations, {}):
        found = candidate.info.run_id
        artifact = _artifact(client, found, wanted)
        if found != run.info.run_id and artifact:
            return Input(run_id=found, artifact=artifact)
    experiment = client.get_experiment(run.info.experiment_id).name
    raise TrackingError(
        f"experiment {experiment}: no run of {_either(wanted.operations)} with {_folders(wanted)} found; "
        f'run "mlflow run . -e {wanted.operations[0]}" first, or pass -P {wanted.name}='
    )


def _of_run(client: MlflowClient, run_id: str, wanted: Wanted) -> Input:
    try:
        artifact = _artifact(client, run_id, wanted)
    except MlflowException as error:
        raise TrackingError(
            f"{wanted.name}: run {run_id} is not in {shown(client.tracking_uri)}; check the id"
        ) from error
    if not artifact:
        raise TrackingError(
            f"{wanted.name}: run {run_id} has no {_folders(wanted)}; give a run of {_either(wanted.operations)}"
        )
    return Input(run_id=run_id, artifact=artifact)


def _artifact(client: MlflowClient, run_id: str, wanted: Wanted) -> str:
    return next((artifact for artifact in wanted.artifacts if client.list_artifacts(run_id, artifact)), "")


def _folders(wanted: Wanted) -> str:
    return _either(tuple(f"{artifact}/" for artifact in wanted.artifacts))


def _either(names: tuple[str, ...]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
