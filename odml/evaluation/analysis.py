"""All that an evaluation tells: metrics, curves, thresholds, kinds of errors, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from odml.evaluation.calibration import Calibration, calibrate
from odml.evaluation.coco import Evaluation, score
from odml.evaluation.confusion import confusion_matrix
from odml.evaluation.curves import Curves, curves_of_classes, mean_curves
from odml.evaluation.errors import ErrorCost, error_costs
from odml.evaluation.matching import match
from odml.evaluation.pictures import PictureErrors, worst_pictures
from odml.evaluation.tables import tabulate
from odml.evaluation.voc import VOCResult, mean_ap, voc_results
from odml.structures import Annotation, Detections, LabelMap

_THRESHOLD_WITHOUT_ONE = 0.5


@dataclass(frozen=True)
class Analysis:
    """An evaluation, and what helps to understand it; all but COCO's metrics is at IoU .5.

    ``voc`` and ``curves`` are by class in the order of the label map, curves None for a class without objects;
    ``mean`` are their means, None without any object. ``confusion`` int64 [K + 1, K + 1], ``worst`` and what counts as
    found there are for the detections from ``score_threshold`` on, the one with the best mean F1 (.5 if nothing was
    found). ``errors`` is empty without objects, ``calibration`` None without detections.
    """

    label_map: LabelMap
    pictures: int
    evaluation: Evaluation
    voc: list[VOCResult]
    curves: list[Curves | None]
    mean: Curves | None
    score_threshold: float
    confusion: np.ndarray
    errors: list[ErrorCost]
    calibration: Calibration | None
    worst: list[PictureErrors]

    def metrics(self) -> dict[str, float]:
        """Give the numbers that runs are compared by; what is not defined has no key.

        They are COCO's and VOC's metrics, ``F1`` with its ``precision``, ``recall`` and ``score_threshold``,
        ``tide/KIND``, the mAP at IoU .5 that errors of a kind cost, and ``calibration_error``.
        """
        best = self.mean.best if self.mean else None
        named = {"F1": best.F1, "precision": best.precision, "recall": best.recall} if best else {}
        if best:
            named["score_threshold"] = best.threshold
        if self.calibration:
            named["calibration_error"] = self.calibration.error
        costs = {f"tide/{each.kind}": each.lost for each in self.errors}
        return self.evaluation.metrics | mean_ap(self.voc) | named | costs

    def class_metrics(self) -> dict[str, float]:
        """Give ``per_class/AP/NAME`` and ``per_class/score_threshold/NAME`` of the classes that have them."""
        thresholds = {
            f"per_class/score_threshold/{name}": curves.best.threshold
            for name, curves in zip(self.label_map.names, self.curves, strict=True)
            if curves and curves.best
        }
        return self.evaluation.class_metrics() | thresholds

    def class_table(self) -> list[dict[str, str | int | float | None]]:
        """Give a row a class: its objects, its APs, and its best threshold with what that gives; None if undefined."""
        return [
            {
                "name": result.name,
                "objects": result.objects,
                "AP": result.AP,
                "AP_50": result.AP_50,
                "VOC_AP_11_points": voc.AP_11_points,
                "VOC_AP_area": voc.AP_area,
                "score_threshold": best.threshold if best else None,
                "F1": best.F1 if best else None,
                "precision": best.precision if best else None,
                "recall": best.recall if best else None,
            }
            for result, voc, curves in zip(self.evaluation.per_class, self.voc, self.curves, strict=True)
            for best in [curves.best if curves else None]
        ]


def analyse(
    annotations: Sequence[Annotation], detections: Sequence[Detections], label_map: LabelMap, *, worst: int = 12
) -> Analysis:
    """Compare detections with the ground truth of the same pictures, in the same order.

    What is held grows with the objects and detections, by some hundred bytes each.

    Args:
        annotations: the ground truth; a picture without objects is an annotation without boxes.
        detections: for every annotation what was found in its picture.
        label_map: names all classes of both.
        worst: how many of the pictures with most errors are named.
    Raises:
        ValueError: no pictures, lists of different lengths, or a class that the label map does not have.
    """
    objects, found = tabulate(annotations, detections, label_map)
    matches = match(found, objects, classes=len(label_map))
    curves = curves_of_classes(found, matches)
    mean = mean_curves(curves)
    threshold = mean.best.threshold if mean and mean.best else _THRESHOLD_WITHOUT_ONE
    return Analysis(
        label_map=label_map,
        pictures=len(annotations),
        evaluation=score(found, matches, label_map),
        voc=voc_results(found, objects, label_map),
        curves=curves,
        mean=mean,
        score_threshold=threshold,
        confusion=confusion_matrix(found, objects, matches, score_threshold=threshold),
        errors=error_costs(found, objects, matches),
        calibration=calibrate(found, matches),
        worst=worst_pictures(found, objects, matches, score_threshold=threshold, limit=worst),
    )
