"""COCO metrics of detections against annotations, by pycocotools; knows no network and no files.

``difficult`` objects count as Pascal VOC's development kit has it: one that is not found is no miss, and
detections of it are neither right nor wrong. So do COCO's crowds, but that what counts for them is how much of the
detection lies in their box, not the IoU.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask
from pycocotools.cocoeval import COCOeval

from odml.structures import Annotation, Detections, LabelMap

# Metric -> its title for people, in the order of COCOeval.stats.
_TITLES = {
    "coco/mAP": "mAP",
    "coco/mAP_50": "mAP@.5",
    "coco/mAP_75": "mAP@.75",
    "coco/mAP_small": "mAP small",
    "coco/mAP_medium": "mAP medium",
    "coco/mAP_large": "mAP large",
    "coco/AR_1": "AR@1",
    "coco/AR_10": "AR@10",
    "coco/AR_100": "AR@100",
    "coco/AR_small": "AR small",
    "coco/AR_medium": "AR medium",
    "coco/AR_large": "AR large",
}


@dataclass(frozen=True)
class ClassResult:
    """How well one class is found.

    ``objects`` counts its ground truth without difficult ones and crowds; where it is 0, both APs are None.
    ``AP`` is the mean over the IoUs .50, .55 to .95; ``AP_50`` is at IoU .50.
    """

    name: str
    objects: int
    AP: float | None
    AP_50: float | None


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one set of pictures.

    ``metrics`` has the 12 COCO numbers, 0..1, as ``coco/mAP``, ``coco/mAP_50``, ``coco/mAP_75``,
    ``coco/mAP_small`` (objects under 32 x 32 pixels), ``coco/mAP_medium``, ``coco/mAP_large`` (over 96 x 96),
    ``coco/AR_1``, ``coco/AR_10``, ``coco/AR_100``, ``coco/AR_small``, ``coco/AR_medium`` and ``coco/AR_large``.
    A size without objects has no key; a set without objects has none at all. ``per_class`` has every class of
    the label map in the order of its ids.
    """

    metrics: dict[str, float]
    per_class: tuple[ClassResult, ...]

    def class_metrics(self) -> dict[str, float]:
        """Give ``per_class/AP/NAME`` for every class that has objects."""
        return {f"per_class/AP/{result.name}": result.AP for result in self.per_class if result.AP is not None}

    def summary(self) -> str:
        """Write the results as an aligned plain text table: a line a class, then a line a metric."""
        rows = [("class", "objects", "AP", "AP@.5")]
        rows += [(each.name, str(each.objects), _shown(each.AP), _shown(each.AP_50)) for each in self.per_class]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "{:<{}}  {:>{}}  {:>{}}  {:>{}}".format(*itertools.chain(*zip(row, widths, strict=True))) for row in rows
        ]
        return "\n".join([*lines, "", *self._metric_lines()])

    def _metric_lines(self) -> list[str]:
        if not self.metrics:
            return ["no metrics: the pictures have no ground truth objects (difficult ones do not count)"]
        width = max(map(len, _TITLES.values()))
        return [
            f"{title.ljust(width)}  "
            + (_shown(self.metrics[name]) if name in self.metrics else f"n/a (no {title.split()[-1]} objects)")
            for name, title in _TITLES.items()
        ]


def evaluate(annotations: Sequence[Annotation], detections: Sequence[Detections], label_map: LabelMap) -> Evaluation:
    """Compare detections with the ground truth of the same pictures, in the same order.

    As in COCO, the 100 best detections of each class in a picture count. Detections in pictures without
    objects, and of classes that a picture does not have, are false positives.

    Args:
        annotations: the ground truth; a picture without objects is an annotation without boxes.
        detections: for every annotation what was found in its picture.
        label_map: names all classes of both.
    Raises:
        ValueError: no pictures, lists of different lengths, or a class that the label map does not have.
    """
    if not annotations:
        raise ValueError("evaluation: there are no pictures; give at least one annotation")
    if len(annotations) != len(detections):
        raise ValueError(
            f"evaluation: {len(annotations)} annotations but {len(detections)} detections; give one of each a picture"
        )
    scorer = _Scorer(
        _ground_truth(annotations, label_map), _found(detections, label_map), len(annotations), len(label_map)
    )
    with contextlib.redirect_stdout(io.StringIO()):
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    # pycocotools has -1 where there is no object to find.
    metrics = {name: float(value) for name, value in zip(_TITLES, scorer.stats, strict=True) if value >= 0}
    return Evaluation(metrics, _class_results(annotations, scorer.eval["precision"], label_map))


# (number of the picture, class id) -> the objects or detections of that class in that picture.
_Entries = dict[tuple[int, int], list[dict]]


class _Scorer(COCOeval):
    """COCOeval on entries in memory instead of COCO's files, with difficult objects as in VOC.

    Difficult objects come as crowds: those are ignored, and take any number of detections. Only a crowd's
    overlap, the share of the detection in it, has to give way to the IoU, unless it is one.
    """

    def __init__(self, ground_truth: _Entries, found: _Entries, images: int, classes: int) -> None:
        super().__init__(iouType="bbox")
        self.ground_truth, self.found = ground_truth, found
        self.params.imgIds = list(range(1, images + 1))
        self.params.catIds = list(range(1, classes + 1))

    def _prepare(self) -> None:
        self._gts = defaultdict(list, self.ground_truth)
        self._dts = defaultdict(list, self.found)

    def computeIoU(self, imgId: int, catId: int) -> np.ndarray | list:  # noqa: N802, N803 (pycocotools' names)
        """Give the overlaps [D, G] of the detections, best first, and the objects; [] where one of them is missing."""
        objects = self._gts[imgId, catId]
        found = sorted(self._dts[imgId, catId], key=lambda entry: -entry["score"])[: self.params.maxDets[-1]]
        if not found or not objects:
            return []
        boxes, crowds = [entry["bbox"] for entry in objects], [int(entry["is_crowd"]) for entry in objects]
        return mask.iou([entry["bbox"] for entry in found], boxes, crowds)


def _ground_truth(annotations: Sequence[Annotation], label_map: LabelMap) -> _Entries:
    ids = {name: class_id for class_id, name in enumerate(label_map.names, start=1)}
    entries: _Entries = defaultdict(list)
    numbers = itertools.count(1)  # 0 would mean "not matched"
    for image_id, annotation in enumerate(annotations, start=1):
        if unknown := set(annotation.names) - set(ids):
            raise ValueError(
                f"{annotation.image}: {min(unknown)!r} is not in the label map {list(ids)}; add it or leave it out"
            )
        assert annotation.crowd is not None  # an Annotation fills it in
        flags = zip(_ignored(annotation), annotation.crowd.tolist(), strict=True)
        for name, box, (ignored, crowd) in zip(annotation.names, _coco_boxes(annotation.boxes), flags, strict=True):
            entry = {"id": next(numbers), "ignore": ignored, "iscrowd": ignored, "is_crowd": crowd}
            entries[image_id, ids[name]].append(entry | box)
    return entries


def _found(detections: Sequence[Detections], label_map: LabelMap) -> _Entries:
    entries: _Entries = defaultdict(list)
    numbers = itertools.count(1)  # 0 would mean "not matched"
    for image_id, each in enumerate(detections, start=1):
        if unknown := set(each.classes.tolist()) - set(range(1, len(label_map) + 1)):
            raise ValueError(
                f"evaluation: detected class {min(unknown)} is not in the label map; its ids are 1 to {len(label_map)}"
            )
        rows = zip(each.classes.tolist(), _coco_boxes(each.boxes), each.scores.tolist(), strict=True)
        for class_id, box, score in rows:
            entries[image_id, class_id].append({"id": next(numbers), "score": score} | box)
    return entries


def _ignored(annotation: Annotation) -> list[bool]:
    """Tell which objects need not be found."""
    assert annotation.difficult is not None  # an Annotation fills it in
    assert annotation.crowd is not None
    return (annotation.difficult | annotation.crowd).tolist()


def _coco_boxes(boxes: np.ndarray) -> list[dict]:
    """Give boxes [N, 4] as COCO writes them: x, y, width and height, and the area."""
    boxes = boxes.astype(np.float64)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    xywh = np.hstack([boxes[:, :2], sides]).tolist()
    return [{"bbox": box, "area": area} for box, area in zip(xywh, sides.prod(axis=1).tolist(), strict=True)]


def _class_results(
    annotations: Sequence[Annotation], precision: np.ndarray, label_map: LabelMap
) -> tuple[ClassResult, ...]:
    """Take each class's AP from COCOeval's ``precision`` [IoU, recall, class, size, detections]."""
    counted = Counter(
        name for each in annotations for name, ignored in zip(each.names, _ignored(each), strict=True) if not ignored
    )
    results = []
    for index, name in enumerate(label_map.names):
        curves = precision[:, :, index, 0, -1]  # [IoU, recall], all sizes, 100 detections
        objects = counted[name]
        average, at_50 = (float(curves.mean()), float(curves[0].mean())) if objects else (None, None)
        results.append(ClassResult(name, objects, average, at_50))
    return tuple(results)


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
