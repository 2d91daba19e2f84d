"""COCO's metrics of detections: the numbers of pycocotools, from arrays."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from odml.evaluation.matching import IOUS, SIZES, Matches, match
from odml.evaluation.tables import MOST_DETECTIONS, Found, tabulate
from odml.structures import Annotation, Detections, LabelMap

RECALLS = np.linspace(0, 1, 101)

# Metric -> its title for people, in the order of COCOeval.stats.
TITLES = {
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
        width = max(map(len, TITLES.values()))
        return [
            f"{title.ljust(width)}  "
            + (_shown(self.metrics[name]) if name in self.metrics else f"n/a (no {title.split()[-1]} objects)")
            for name, title in TITLES.items()
        ]


def evaluate(annotations: Sequence[Annotation], detections: Sequence[Detections], label_map: LabelMap) -> Evaluation:
    """Compare detections with the ground truth of the same pictures, in the same order.

    Detections in pictures without objects, and of classes that a picture does not have, are false positives.

    Args:
        annotations: the ground truth; a picture without objects is an annotation without boxes.
        detections: for every annotation what was found in its picture.
        label_map: names all classes of both.
    Raises:
        ValueError: no pictures, lists of different lengths, or a class that the label map does not have.
    """
    objects, found = tabulate(annotations, detections, label_map)
    return score(found, match(found, objects, classes=len(label_map)), label_map)


def score(found: Found, matches: Matches, label_map: LabelMap) -> Evaluation:
    """Reckon the metrics of detections that are matched, as pycocotools' ``accumulate`` and ``summarize`` do."""
    precision, counts = _precisions(found, matches), matches.counts
    sizes = range(1, len(SIZES))
    values = [
        _mean(precision[:, 0], counts[:, 0]),
        _mean(precision[:, 0, :1], counts[:, 0]),
        _mean(precision[:, 0, 5:6], counts[:, 0]),
        *(_mean(precision[:, size], counts[:, size]) for size in sizes),
        *(_mean(_recalls(found, matches, 0, limit), counts[:, 0]) for limit in (1, 10, MOST_DETECTIONS)),
        *(_mean(_recalls(found, matches, size, MOST_DETECTIONS), counts[:, size]) for size in sizes),
    ]
    metrics = {name: value for name, value in zip(TITLES, values, strict=True) if value is not None}
    rows = zip(label_map.names, counts[:, 0].tolist(), precision[:, 0], strict=True)
    return Evaluation(metrics, tuple(_class_result(*row) for row in rows))


def interpolated(right: np.ndarray, wrong: np.ndarray, count: int) -> np.ndarray:
    """Give the best precision at each of COCO's recalls or a higher one, 0 where none is so high.

    Args:
        right: bool [N] of a class's detections, the best first.
        wrong: the same; what is neither does not count.
        count: the objects that are to be found, at least 1.
    Returns:
        float64 [101]; its mean is the average precision.
    """
    precision = _precision_at_hits(right, wrong)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(np.arange(1, len(best) + 1) / count, RECALLS, side="left")
    return np.append(best, 0)[np.minimum(at, len(best))]


def _precision_at_hits(right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Give the precision after each detection that is right: between them it only falls."""
    hits = np.flatnonzero(right)
    numbers = np.arange(1, len(hits) + 1, dtype=np.float64)
    return numbers / (np.cumsum(wrong)[hits] + numbers + np.spacing(1))


def _precisions(found: Found, matches: Matches) -> np.ndarray:
    """Give the interpolated precisions [K, size, IoU, recall], 0 for a class without objects."""
    order = found.by_class()
    numbers = np.arange(1, len(matches.counts) + 1)
    ends = np.searchsorted(found.classes[order], numbers, side="right")
    curves = np.zeros((len(numbers), len(SIZES), len(IOUS), len(RECALLS)))
    for index, (start, end) in enumerate(itertools.pairwise([0, *ends.tolist()])):
        rows = order[start:end]
        for size in np.flatnonzero(matches.counts[index]).tolist():
            right, wrong = (matches.at(bits[rows], size) for bits in (matches.right, matches.wrong))
            for number in range(len(IOUS)):
                curves[index, size, number] = interpolated(right[number], wrong[number], matches.counts[index, size])
    return curves


def _recalls(found: Found, matches: Matches, size: int, limit: int) -> np.ndarray:
    """Give the share of objects found [K, IoU] by so many detections of a class in a picture."""
    first = found.ranks < limit
    right = matches.at(matches.right[first], size)
    classes = found.classes[first] - 1
    hits = [np.bincount(classes[row], minlength=len(matches.counts)) for row in right]
    return np.stack(hits, axis=1) / np.maximum(matches.counts[:, size, None], 1)


def _mean(values: np.ndarray, counts: np.ndarray) -> float | None:
    """Average over the classes that have objects."""
    return float(values[counts > 0].mean()) if counts.any() else None


def _class_result(name: str, count: int, curves: np.ndarray) -> ClassResult:
    return ClassResult(name, count, *((float(curves.mean()), float(curves[0].mean())) if count else (None, None)))


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
