"""The runs of an experiment, a row each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from odml.tracking.evaluations import MAP
from odml.tracking.inputs import runs_of
from odml.tracking.stores import active_experiment, unreachable

LOSS = "train/loss/total"


@dataclass(frozen=True)
class RunRow:
    """What a run has come to; None and "" where it has no such thing.

    ``score`` and ``score_50`` are mAP and mAP@.5. Of a training they are those of its best evaluation, ``step`` and
    ``loss`` the last.
    """

    id: str
    operation: str
    status: str
    started: datetime
    step: int | None
    loss: float | None
    score: float | None
    score_50: float | None
    digest: str


def recent_runs(operations: tuple[str, ...], *, limit: int) -> tuple[str, list[RunRow]]:
    """Give the name of the active experiment and its newest runs of the operations, the newest first.

    Raises:
        TrackingError: the tracking store does not answer, or has no such experiment.
    """
    experiment = active_experiment()
    client = MlflowClient()
    try:
        runs = runs_of(client, experiment.experiment_id, operations, {})
        return experiment.name, [_row(client, run) for run in itertools.islice(runs, limit)]
    except MlflowException as error:
        raise unreachable("tracking store", client.tracking_uri, error) from error


def _row(client: MlflowClient, run: Run) -> RunRow:
    tags, metrics = run.data.tags, run.data.metrics
    is_training = LOSS in metrics
    split = tags.get("odml.split", "val")
    score = MAP if split == "val" else MAP.replace("eval/", f"{split}/")
    best = _best(client, run, score) if score in metrics else (None, None)
    step = _last_step(client, run) if is_training else tags.get("odml.step")
    return RunRow(
        id=run.info.run_id,
        operation=tags["odml.operation"] + ("" if split == "val" else f" ({split})"),
        status=run.info.status,
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        step=None if step is None else int(step),
        loss=metrics.get(LOSS),
        score=best[0],
        score_50=best[1],
        digest=tags.get("odml.data.digest", ""),
    )


def _last_step(client: MlflowClient, run: Run) -> int:
    return max(each.step for each in client.get_metric_history(run.info.run_id, LOSS))


def _best(client: MlflowClient, run: Run, score: str) -> tuple[float, float | None]:
    """Give the best mAP of all steps, the first of equal ones, and the mAP@.5 of the same step."""
    best = max(client.get_metric_history(run.info.run_id, score), key=lambda each: (each.value, -each.step))
    others = client.get_metric_history(run.info.run_id, f"{score}_50")
    return best.value, next((each.value for each in others if each.step == best.step), None)
