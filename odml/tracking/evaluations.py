"""What runs tell of how good a checkpoint is."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run

from odml.errors import TrackingError
from odml.tracking.inputs import RUN_ID, runs_of

MAP = "eval/coco/mAP"
# Of what a training has measured itself; each takes a request.
_TOLD = ("eval/coco/", "eval/F1")


@dataclass(frozen=True)
class Measured:
    """An evaluation of a checkpoint on images kept for validation; ``images`` is how many, "" if it is not known."""

    run_id: str
    digest: str
    images: str
    metrics: dict[str, float]


def evaluations_of(trained_model: str, step: str, *, experiment_id: str) -> list[Measured]:
    """Give the evaluations of a checkpoint on validation images that have found an mAP, the newest first.

    Those by ``evaluate`` come first, of the experiment and of the training's own; last the one that the training has
    made itself at that step.

    Args:
        trained_model: the training's run, or its folder, as the evaluations' tags have it.
        step: of the checkpoint.
    """
    client = MlflowClient()
    training = client.get_run(trained_model) if RUN_ID.fullmatch(trained_model) else None
    experiments = dict.fromkeys([experiment_id, *([training.info.experiment_id] if training else [])])
    tags = {"odml.input.trained_model": trained_model, "odml.step": step, "odml.split": "val"}
    runs = [run for each in experiments for run in runs_of(client, each, ("evaluate",), tags)]
    found = [_measured(run, dict(run.data.metrics)) for run in runs if MAP in run.data.metrics]
    return found + ([own] if training and (own := _by_training(client, training, step)) else [])


def find_evaluation(run_id: str, *, predictions: str) -> str | None:
    """Give the newest evaluation with predictions of what a run is about, None if there is none.

    Args:
        run_id: a run of evaluate, which is given back; of train or transfer_learn; or of export_and_freeze, of whose
            training the evaluations of the exported step are taken.
        predictions: the artifact that such an evaluation has.
    Raises:
        TrackingError: there is no such run, or it is one of another operation.
    """
    client = MlflowClient()
    run = client.get_run(run_id)
    operation = run.data.tags.get("odml.operation", "another program")
    if operation == "evaluate":
        candidates = [run]
    elif operation in ("train", "transfer_learn"):
        candidates = _evaluate_runs(client, run, {"odml.input.trained_model": run_id})
    elif operation == "export_and_freeze":
        tags = {"odml.input.trained_model": run.data.tags.get("odml.input.trained_model", "")}
        candidates = _evaluate_runs(client, run, tags | {"odml.step": run.data.tags.get("odml.step", "")})
    else:
        raise TrackingError(
            f"run {run_id}: is one of {operation}; give one of train, transfer_learn, evaluate or export_and_freeze"
        )
    folder = predictions.rpartition("/")[0]
    return next(
        (
            each.info.run_id
            for each in candidates
            if predictions in {file.path for file in client.list_artifacts(each.info.run_id, folder)}
        ),
        None,
    )


def _evaluate_runs(client: MlflowClient, run: Run, tags: dict[str, str]) -> list[Run]:
    """Give evaluations, those on validation images first: two on different sides have no picture in common."""
    found = runs_of(client, run.info.experiment_id, ("evaluate",), tags)
    return sorted(found, key=lambda each: each.data.tags.get("odml.split") != "val")


def _by_training(client: MlflowClient, training: Run, step: str) -> Measured | None:
    """Give what the training itself has measured at the step."""
    if MAP not in training.data.metrics:
        return None
    metrics = {
        name: metric.value
        for name in training.data.metrics
        if name.startswith(_TOLD)
        for metric in client.get_metric_history(training.info.run_id, name)
        if str(metric.step) == step
    }
    return _measured(training, metrics) if MAP in metrics else None


def _measured(run: Run, metrics: dict[str, float]) -> Measured:
    tags = run.data.tags
    return Measured(run.info.run_id, tags.get("odml.data.digest", ""), tags.get("odml.evaluated_images", ""), metrics)
