"""compare: the runs of the experiment in a table, or two models beside each other on one page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from entrypoints.command import Command
from odml.errors import OdmlError, TrackingError

if TYPE_CHECKING:
    import numpy as np

    from odml.comparison import Comparison, Evaluated
    from odml.report import Side
    from odml.tracking import Run, RunRow

OPERATIONS = ("main", "prepare", "train", "transfer_learn", "evaluate", "export_and_freeze", "register", "detect")
PAGE = "comparison.html"


@click.command(cls=Command)
@click.option(
    "--runs",
    default="",
    help="Two models with a comma between, each a run of train, transfer_learn, evaluate or export_and_freeze (its id, "
    "or the beginning of it) or a models:/ URI; none: list the experiment's runs.",
)
@click.option(
    "--operation",
    type=click.Choice(["", *OPERATIONS]),
    default="",
    metavar="NAME",
    help="In the list, runs of this operation only.",
)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Most rows of the list.")
def compare(runs: str, operation: str, limit: int) -> None:
    """List the experiment's runs, or show what two models do differently on the same images."""
    from odml import tracking

    if not runs:
        with tracking.given_run("compare"):
            click.echo(_table(*tracking.recent_runs((operation,) if operation else OPERATIONS, limit=limit)))
        return
    values = [value.strip() for value in runs.split(",")]
    if len(values) != 2 or not all(values):
        raise TrackingError(f"runs: {runs!r} does not name two models; write runs=A,B, ids or models:/ URIs")
    with tracking.start_run("compare") as run:
        first, second = (_evaluation(value, run) for value in values)
        _compare(run, first, second)


def _table(experiment: str, rows: list[RunRow]) -> str:
    if not rows:
        return f"experiment {experiment} has no such run"
    titles = ("operation", "status", "step", "loss", "mAP", "mAP@.5", "age", "data digest", "run")
    lines = [titles, *(_row(each, datetime.now(UTC)) for each in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _row(run: RunRow, now: datetime) -> tuple[str, ...]:
    figures = (run.loss, run.score, run.score_50)
    return (
        run.operation,
        run.status,
        "" if run.step is None else str(run.step),
        *("" if figure is None else f"{figure:.3f}" for figure in figures),
        _age((now - run.started).total_seconds()),
        run.digest[:12],
        run.id[:8],
    )


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


@dataclass(frozen=True)
class _Evaluation:
    """The evaluation of one of the two models."""

    name: str
    run_id: str
    tags: dict[str, str]
    settings: dict[str, str]

    def side(self) -> Side:
        from odml import tracking
        from odml.report import Side

        tags, digest = self.tags, self.tags.get("odml.data.digest", "unknown")
        facts = {
            "model": tags.get("odml.model", ""),
            "step": tags.get("odml.step", ""),
            "measured on": f"{tags.get('odml.split', 'val')} images of data {digest}",
            "evaluation": f"{tracking.ui_address()}/{tracking.page_of(self.run_id)}",
        }
        return Side(self.name, facts)

    def read(self) -> Evaluated:
        from entrypoints.evaluation_report import FOLDER, GROUND_TRUTH, PREDICTIONS
        from odml import tracking
        from odml.comparison import Evaluated
        from odml.report import read_ground_truth, read_predictions

        with tracking.input_folder(
            "runs",
            self.run_id,
            operations=("evaluate",),
            artifact=FOLDER,
            needed=lambda name: name in (GROUND_TRUTH, PREDICTIONS),
        ) as folder:
            annotations, label_map = read_ground_truth(folder / GROUND_TRUTH)
            detections = read_predictions(folder / PREDICTIONS, len(annotations))
        return Evaluated(annotations, detections, label_map)


def _evaluation(value: str, run: Run) -> _Evaluation:
    """Find the evaluation of a model.

    Raises:
        TrackingError: there is none, or it has no predictions; the message says how to make it.
    """
    from entrypoints.evaluation_report import FOLDER, PREDICTIONS
    from odml import tracking

    run_id = tracking.find_run("runs", value, experiment_id=run.experiment_id)
    found = tracking.find_evaluation(run_id, predictions=f"{FOLDER}/{PREDICTIONS}")
    if found is None:
        raise TrackingError(f"runs: {value} has no evaluation with predictions; make it: {_how_to_evaluate(run_id)}")
    tags = tracking.run_tags(found)
    training = tags.get("odml.input.trained_model", "")
    of_training = (training,) if tracking.is_run_id(training) else ()
    shown = value if value.startswith("models:/") else f"{tags.get('odml.model', 'model')} {run_id[:8]}"
    settings = tracking.run_settings(found, *of_training)
    return _Evaluation(shown, found, tags, {key: settings[key] for key in settings if key not in ("trained_model",)})


def _how_to_evaluate(run_id: str) -> str:
    from odml import tracking

    tags = tracking.run_tags(run_id)
    trained_model = tags.get("odml.input.trained_model", run_id)
    step = f" -P step={tags['odml.step']}" if "odml.step" in tags else ""
    return f"mlflow run . -e evaluate --env-manager local -P trained_model={trained_model}{step}"


def _compare(run: Run, first: _Evaluation, second: _Evaluation) -> None:
    from odml.comparison import changes, compare
    from odml.report import comparison_text, draw_disagreements, write_comparison

    run.tag("odml.compared", f"{first.run_id} {second.run_id}")
    comparison = compare(first.read(), second.read())
    names = (first.name, second.name)
    settings = changes(first.settings, second.settings)
    remarks = list(_remarks(first, second, comparison))
    pictures = []
    try:
        images = _images(first, [each.places[0] for each in comparison.disagreements])
        pictures = draw_disagreements(comparison, images, names)
    except OdmlError as error:
        remarks.append(f"The images cannot be shown: {error}")
    page = write_comparison(
        comparison, (first.side(), second.side()), settings=settings, remarks=remarks, pictures=pictures
    )
    text = comparison_text(comparison, names, settings)
    run.log_text(page, PAGE)
    run.log_text(f"{text}\n", "comparison.txt")
    click.echo("\n".join([text, "", *remarks, f"page: {run.artifact_uri}/{PAGE}"]))


def _remarks(first: _Evaluation, second: _Evaluation, comparison: Comparison) -> Iterator[str]:
    """Say on what the two were measured, and whether that can be compared."""
    digests = [each.tags.get("odml.data.digest", "unknown") for each in (first, second)]
    if digests[0] == digests[1]:
        yield f"Both were measured on the same data ({digests[0]})."
    else:
        yield f"DIFFERENT DATA: {first.name} was measured on {digests[0]}, {second.name} on {digests[1]}."
    if not comparison.shared:
        yield "They have no image in common, so that the numbers say nothing about which is better."
    elif not comparison.is_of_all:
        one, other = comparison.pictures
        yield (
            f"All numbers are of the {comparison.shared} images that both have with the same ground truth, of {one} "
            f"and {other}."
        )


def _images(evaluation: _Evaluation, places: Sequence[int]) -> Iterator[np.ndarray]:
    """Read images of the data that were evaluated.

    Raises:
        OdmlError: they are no longer there, or others now.
    """
    from odml import batches, records, tracking

    if not places:
        return
    source = evaluation.tags.get("odml.input.dataset", "")
    side = evaluation.tags.get("odml.split", "val")
    needed = partial(records.is_needed, side=side)
    with tracking.input_folder("dataset", source, operations=("prepare",), artifact="dataset", needed=needed) as folder:
        data = records.open_dataset(folder, sides=(side,))
        if data.digest != evaluation.tags.get("odml.data.digest"):
            raise TrackingError(f"{folder}: its content has changed since the evaluation; evaluate again")
        yield from batches.read_images_at(data.records_of(side), places)


if __name__ == "__main__":
    compare()
