"""An exported detector, form by form, beside its checkpoint on validation pictures.

``odml.export.parity`` and ``odml.tflite.agreement`` compare what networks compute; this compares what people get: the
detections, as a program has them that reads a file, and the mAP.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from odml.batches import evaluation_batches
from odml.boxes import iou, xyxy_to_yxyx
from odml.errors import ExportError
from odml.evaluation import evaluate
from odml.forms import FORMS
from odml.prediction import Network, Predictor, predict
from odml.records import Dataset
from odml.structures import Annotation, Detections, LabelMap

logger = logging.getLogger(__name__)

# How far a form's mAP may be below its checkpoint's. The first compute the same, but for rounding. TensorFlow Lite's
# suppression does not look at classes, so that of objects of two classes in one place one is lost.
TOLERANCES = {
    **dict.fromkeys(("frozen_graph", "saved_model", "onnx"), 0.005),
    **dict.fromkeys(("tflite_float32", "tflite_float16"), 0.02),
    "tflite_int8": 0.05,
}
_LEAST_SCORE = 0.3  # of a detection that is compared
_LEAST_IOU = 0.5  # of two detections that are taken for the same


@dataclass(frozen=True)
class FormResult:
    """What a form gives on pictures whose ground truth is known.

    ``drop`` is how far its mAP, ``mean_ap``, is below the checkpoint's; both are None if the pictures have no objects.
    Of the ``compared`` detections of the checkpoint, those that score at least 0.3, ``matched`` have a like in the
    form: of the same class, with an IoU of at least .5. ``score_difference`` and ``box_difference``, 0..1 of the
    picture, are the largest between two of these; None without any.
    """

    mean_ap: float | None
    drop: float | None
    score_difference: float | None
    box_difference: float | None
    compared: int
    matched: int

    def figures(self) -> dict[str, float | None]:
        """Give the figures by the names that people know."""
        return {
            "mAP": self.mean_ap,
            "mAP_drop": self.drop,
            "score_difference": self.score_difference,
            "box_difference": self.box_difference,
            "compared_detections": self.compared,
            "matched_detections": self.matched,
        }


@dataclass(frozen=True)
class Comparison:
    """What a checkpoint (``mean_ap``) and the forms of it give on the same ``examples`` pictures."""

    examples: int
    mean_ap: float | None
    forms: dict[str, FormResult]

    def metrics(self) -> dict[str, float | None]:
        """Give all figures by the names that runs are compared by: ``FORM/mAP`` and so on."""
        metrics: dict[str, float | None] = {"examples": self.examples, "checkpoint/mAP": self.mean_ap}
        for name, result in self.forms.items():
            metrics |= {f"{name}/{figure}": value for figure, value in result.figures().items()}
        return metrics

    def description(self) -> dict[str, Any]:
        """Give all figures as ``model.json`` has them."""
        forms = {name: result.figures() for name, result in self.forms.items()}
        return {"examples": self.examples, "checkpoint": {"mAP": self.mean_ap}, **forms}


def compare(
    network: Network, folder: Path, dataset: Dataset, *, examples: int, max_drop: float | None = None
) -> Comparison:
    """Detect with a network and with each form that its export folder has, in the first validation pictures.

    Args:
        dataset: has validation records, and the classes of the network.
        examples: how many pictures, -1 for all.
        max_drop: how far the mAP of any form may be below the network's; None: as ``TOLERANCES`` says.
    Raises:
        ExportError: a form's mAP is further below.
    """
    count = dataset.val_examples if examples < 0 else min(examples, dataset.val_examples)
    annotations, expected = _predict(Predictor.of_network(network), dataset, count)
    best = _mean_ap(annotations, expected, dataset.label_map)
    results = {}
    for name, form in FORMS.items():
        if not form.is_in(folder):
            continue
        _, found = _predict(Predictor.of_form(form.read(folder / form.file)), dataset, count)
        result = _result(annotations, expected, found, best=best, label_map=dataset.label_map)
        _require_likeness(name, result, best=best, examples=count, max_drop=max_drop)
        results[name] = result
        logger.info(
            "%s: mAP %s, the checkpoint's is %s (%d pictures)", name, *map(_shown, (result.mean_ap, best)), count
        )
    return Comparison(count, best, results)


def _predict(predictor: Predictor, dataset: Dataset, examples: int) -> tuple[list[Annotation], list[Detections]]:
    batches = evaluation_batches(
        dataset.val_records,
        dataset.label_map,
        batch_size=predictor.batch_size,
        resize=predictor.resize,
        examples=examples,
    )
    return predict(predictor.detect, batches, dataset.label_map, examples=examples)


def _mean_ap(annotations: list[Annotation], detections: list[Detections], label_map: LabelMap) -> float | None:
    return evaluate(annotations, detections, label_map).metrics.get("coco/mAP")


def _result(
    annotations: list[Annotation],
    expected: list[Detections],
    found: list[Detections],
    *,
    best: float | None,
    label_map: LabelMap,
) -> FormResult:
    mean_ap = _mean_ap(annotations, found, label_map)
    apart = np.array([pair for each in zip(annotations, expected, found, strict=True) for pair in _pairs(*each)])
    largest = apart.max(axis=0).tolist() if len(apart) else (None, None)
    return FormResult(
        mean_ap=mean_ap,
        drop=None if mean_ap is None or best is None else best - mean_ap,
        score_difference=largest[0],
        box_difference=largest[1],
        compared=sum(int((each.scores >= _LEAST_SCORE).sum()) for each in expected),
        matched=len(apart),
    )


def _pairs(annotation: Annotation, expected: Detections, found: Detections) -> Iterator[tuple[float, float]]:
    """Give how far the scores and the boxes are apart of each detection that counts and the one most like it."""
    expected, size = expected.best(score_threshold=_LEAST_SCORE), (annotation.width, annotation.height)
    boxes, others = (xyxy_to_yxyx(each.boxes, width=size[0], height=size[1]) for each in (expected, found))
    overlaps = iou(boxes, others) * (expected.classes[:, None] == found.classes)  # [N, M]
    for row, overlap in enumerate(overlaps):
        if overlap.max(initial=0) >= _LEAST_IOU:
            other = overlap.argmax()
            yield abs(expected.scores[row] - found.scores[other]), np.abs(boxes[row] - others[other]).max()


def _require_likeness(
    name: str, result: FormResult, *, best: float | None, examples: int, max_drop: float | None
) -> None:
    allowed = TOLERANCES[name] if max_drop is None else max_drop
    if result.drop is not None and result.drop > allowed:
        raise ExportError(
            f"{FORMS[name].file}: its mAP on {examples} validation pictures is {_shown(result.mean_ap)}, more than "
            f"{allowed:g} below its checkpoint's {_shown(best)}; leave that form out, or allow more with max_map_drop"
        )


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
