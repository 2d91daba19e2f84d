"""Pascal VOC's average precision: of 2007 with 11 points, of 2010 and later as the area under the curve.

Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC) Challenge", section 4.2, and the development kits.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from odml.evaluation.tables import Found, Objects, overlapping
from odml.structures import LabelMap

_IOU = 0.5


@dataclass(frozen=True)
class VOCResult:
    """The two average precisions of one class at IoU .5, 0..1; None without objects that are to be found."""

    name: str
    AP_11_points: float | None
    AP_area: float | None


def voc_results(found: Found, objects: Objects, label_map: LabelMap) -> list[VOCResult]:
    """Score each class, in the order of the label map.

    Unlike COCO's, a detection is judged by the object of its class that it overlaps most, also if a better detection
    has that already: then it is wrong. Of detections that overlap an object that need not be found most, none counts.
    """
    nearest = _nearest(found, objects)
    order = found.by_class()
    counts = objects.count(label_map).tolist()
    ends = np.searchsorted(found.classes[order], np.arange(1, len(label_map) + 1), side="right").tolist()
    results = []
    for name, count, (start, end) in zip(label_map.names, counts, itertools.pairwise([0, *ends]), strict=True):
        near = nearest[order[start:end]]
        results.append(VOCResult(name, *(_average_precisions(near, objects.ignored, count) if count else (None, None))))
    return results


def mean_ap(results: list[VOCResult]) -> dict[str, float]:
    """Give ``voc/mAP_11_points`` and ``voc/mAP_area`` over the classes with objects; {} without any."""
    known = [each for each in results if each.AP_area is not None]
    names = ("AP_11_points", "AP_area")
    return {f"voc/m{name}": float(np.mean([getattr(each, name) for each in known])) for name in names if known}


def _nearest(found: Found, objects: Objects) -> np.ndarray:
    """Give the object int64 [D] of its class that each detection overlaps most, -1 below IoU .5."""
    nearest = np.full(len(found), -1)
    for pairs in overlapping(found, objects, at_least=_IOU, same_class=True):
        order = np.lexsort((-pairs.ious, pairs.found))
        rows, firsts = np.unique(pairs.found[order], return_index=True)
        nearest[rows] = pairs.objects[order[firsts]]
    return nearest


def _average_precisions(nearest: np.ndarray, ignored: np.ndarray, count: int) -> tuple[float, float]:
    """Score the detections of a class, the best first, by the objects that they overlap most."""
    nearest = nearest[(nearest < 0) | ~ignored[nearest]]
    right = np.zeros(len(nearest), np.bool_)
    _, firsts = np.unique(nearest, return_index=True)
    right[firsts] = True  # the first detection of an object
    hits = np.cumsum(right & (nearest >= 0))
    recall, precision = hits / count, hits / np.arange(1, len(hits) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)
    eleven = best[np.searchsorted(recall, np.linspace(0, 1, 11), side="left")].mean()
    return float(eleven), float(np.sum(np.diff(recall, prepend=0) * best[:-1]))
