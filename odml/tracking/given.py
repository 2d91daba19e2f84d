"""Finding the run that people mean: by its id, by the beginning of it, by a model that came of it."""

from __future__ import annotations

import re

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from odml.errors import TrackingError
from odml.tracking.inputs import RUN_ID
from odml.tracking.names import mlflow_name
from odml.tracking.registry import run_of_model
from odml.tracking.stores import open_store

_BEGINNING = re.compile(r"[0-9a-f]{6,31}")
# Of a training's parameters: what says nothing of what comes out.
_OF_NO_CONSEQUENCE = ("gpus", "print_config", "resume", "dataset")


def find_run(name: str, value: str, *, experiment_id: str) -> str:
    """Give the id of a run.

    Args:
        name: of the parameter, for messages.
        value: the id; the first six or more letters of the id of a run in the experiment; or a ``models:/`` URI, for
            the run that has made the model.
        experiment_id: where the beginning of an id is looked for.
    Raises:
        TrackingError: there is no such run, or there are several.
    """
    client = MlflowClient()
    if value.startswith("models:/"):
        return run_of_model(client, value)
    if RUN_ID.fullmatch(value):
        try:
            return client.get_run(value).info.run_id
        except MlflowException as error:
            raise TrackingError(f"{name}: run {value} is not in {open_store()}; check the id") from error
    if not _BEGINNING.fullmatch(value):
        raise TrackingError(
            f"{name}: {value!r} is neither a run's id nor a models:/ URI; compare without runs lists them"
        )
    found = [run.info.run_id for run in client.search_runs([experiment_id], f"attributes.run_id LIKE '{value}%'")]
    if len(found) != 1:
        raise TrackingError(f"{name}: {len(found)} runs of this experiment begin with {value}; give the whole id")
    return found[0]


def run_settings(*run_ids: str) -> dict[str, str]:
    """Give the settings that runs were started with: their parameters, and the configurations that they have logged.

    A later run's win. What only says where and when something ran is left out.
    """
    prefix = mlflow_name("cfg.")
    settings: dict[str, str] = {}
    for run_id in run_ids:
        parameters = MlflowClient().get_run(run_id).data.params
        settings |= {key.removeprefix(prefix): value for key, value in parameters.items()}
    return {key: value for key, value in settings.items() if key not in _OF_NO_CONSEQUENCE}
