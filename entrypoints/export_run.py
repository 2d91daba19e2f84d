"""What export_and_freeze does beside writing: the data that it compares on, what the comparison found, the card."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from entrypoints.evaluation_run import require_same_classes
from odml import batches, export, tracking
from odml.errors import ExportError, RecordError, TrackingError
from odml.form_comparison import Comparison, compare
from odml.forms import FORMS
from odml.model_card import Facts, card_metrics
from odml.records import Dataset, open_dataset

if TYPE_CHECKING:
    from odml.architectures import Architecture
    from odml.structures import LabelMap
    from odml.tracking import Run

logger = logging.getLogger(__name__)

PARITY = "odml.parity"
PASSED, FAILED, UNMEASURED = "passed", "failed", "unmeasured"
# What gives rows before suppression, which can be compared one by one; export has done so with the frozen graph.
_WITH_ROWS = ("saved_model", "onnx")


def find_dataset(run: Run, dataset: str, label_map: LabelMap, *, needed: bool) -> Dataset | None:
    """Open the data set that the export compares on, by default the one that the training used.

    Args:
        dataset: the parameter's value.
        needed: whether there is no doing without; then it is the latest prepared one if nothing tells of another.
    Returns:
        None if nothing tells of a data set, or, with a warning, if that of the training is not there any more.
    Raises:
        RecordError, TrackingError: it cannot be used, and was asked for or is needed.
    """
    source = dataset or run.input_tags("trained_model").get("odml.input.dataset", "")
    if not source and not needed:
        return None
    try:
        found = open_dataset(run.input("dataset", source, operations=("prepare",), artifact="dataset"))
    except (RecordError, TrackingError) as error:
        if dataset or needed:
            raise
        logger.warning("%s; without the data of the training no mAP is measured", error)
        return None
    require_same_classes(found, label_map)
    return found


def compare_forms(
    run: Run,
    network: Architecture,
    graph: Path,
    data: Dataset | None,
    *,
    examples: int,
    max_drop: float | None,
) -> Comparison | None:
    """Run all that the export has written and compare it with the network; log what was found, also in model.json.

    The tag ``odml.parity`` then says how it ended: passed, failed, or unmeasured if the mAP was not.

    Args:
        data: None, and one without validation images: no mAP is measured, only rows of drawn pictures are compared.
        max_drop: as for ``form_comparison.compare``.
    Raises:
        ExportError: something differs by more than it may.
    """
    try:
        found = _compare(run, network, graph, data, examples=examples, max_drop=max_drop)
    except ExportError:
        run.tag(PARITY, FAILED)
        raise
    run.tag(PARITY, verdict(found))
    return found


def _compare(
    run: Run, network: Architecture, graph: Path, data: Dataset | None, *, examples: int, max_drop: float | None
) -> Comparison | None:
    for name in _WITH_ROWS:
        if FORMS[name].is_in(graph):
            parity = export.check_form(network, graph, FORMS[name])
            run.log_metrics({f"export/{name}/raw_difference": parity.raw_difference})
    if not data or not data.val_examples:
        return None
    with batches.naming_damage(data):
        found = compare(network, graph, data, examples=examples, max_drop=max_drop)
    run.log_metrics({f"export/{name}": value for name, value in found.metrics().items()})
    export.describe(graph, comparison={"data_digest": data.digest, **found.description()})
    return found


def verdict(comparison: Comparison | None) -> str:
    """Say in a word, the tag ``odml.parity``, whether the mAP of all forms was measured."""
    return PASSED if comparison and comparison.mean_ap is not None else UNMEASURED


def told(comparison: Comparison | None) -> str:
    """Say in a line what the comparison found."""
    if comparison is None or comparison.mean_ap is None:
        return "no mAP was measured, for want of validation images with objects; to have it, pass dataset"
    scores = [("checkpoint", comparison.mean_ap)]
    scores += [(name, result.mean_ap or 0.0) for name, result in comparison.forms.items()]
    shown = ", ".join(f"{name} {score:.3f}" for name, score in scores)
    return f"mAP on {comparison.examples} validation images: {shown}"


def facts_of(run: Run, tags: Mapping[str, str], label_map: LabelMap, comparison: Comparison | None) -> Facts:
    """Say of the card what the training and its newest evaluation tell, or else the training's own evaluation."""
    training, step = run.input_run("trained_model"), int(tags["odml.step"])
    metrics = {}
    if training:
        same = {"odml.input.trained_model": training, "odml.step": str(step), "odml.split": "val"}
        measured = run.latest("evaluate", tags=same) or training
        names = {f"eval/{name}": name for name in card_metrics(label_map)}
        metrics = {names[name]: value for name, value in tracking.metrics_at(measured, names, step).items()}
    data = run.input_tags("trained_model").get("odml.input.dataset", "")
    return Facts(
        model=tags["odml.model"],
        step=step,
        data=f"run {data}" if tracking.is_run_id(data) else Path(data).name,
        data_digest=tags.get("odml.data.digest", ""),
        training=f"run {training}" if training else "",
        metrics=metrics,
        compared_examples=comparison.examples if comparison else 0,
        compared=_by_file(comparison) if comparison else {},
    )


def _by_file(comparison: Comparison) -> dict[str, dict[str, float | None]]:
    forms = {FORMS[name].file: result.figures() for name, result in comparison.forms.items()}
    return {"checkpoint": {"mAP": comparison.mean_ap}, **forms}
