"""Ground truth and detections of many pictures as flat tables, and the pairs of them that overlap.

A picture is its place in the list that was given, from 0. In both tables the rows of a picture are together, and in it
those of a class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from odml.structures import Annotation, Detections, LabelMap

MOST_DETECTIONS = 100
"""How many of the best detections of a class in a picture count."""

_PAIRS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Objects:
    """The ground truth, a row an object.

    ``pictures`` and ``classes`` (ids from 1) are int32 [G], ``boxes`` float32 [G, 4] xyxy in pixels, ``ignored`` and
    ``crowds`` bool [G]: what need not be found, crowds among it.
    """

    pictures: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    ignored: np.ndarray
    crowds: np.ndarray

    def count(self, label_map: LabelMap) -> np.ndarray:
        """Count the objects of each class that are to be found: int64 [K], in the order of the label map."""
        return np.bincount(self.classes[~self.ignored] - 1, minlength=len(label_map))


@dataclass(frozen=True)
class Found:
    """The detections that count, a row each; in a picture's class the best first.

    ``pictures`` and ``classes`` (ids from 1) are int32 [D], ``boxes`` float32 [D, 4] xyxy in pixels, ``scores``
    float32 [D], ``ranks`` int32 [D] the places, from 0, among those of the class in the picture.
    """

    pictures: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def by_class(self) -> np.ndarray:
        """Give the order [D] that has the classes by id, and in a class the best of all pictures first."""
        return np.lexsort((-self.scores, self.classes))


@dataclass(frozen=True)
class Pairs:
    """Rows of detections [P] and of objects [P] that overlap, and the IoUs [P] (in crowds the detection's share)."""

    found: np.ndarray
    objects: np.ndarray
    ious: np.ndarray


def tabulate(
    annotations: Sequence[Annotation], detections: Sequence[Detections], label_map: LabelMap
) -> tuple[Objects, Found]:
    """Make the tables of pictures in the same order.

    Raises:
        ValueError: no pictures, lists of different lengths, or a class that the label map does not have.
    """
    if not annotations:
        raise ValueError("evaluation: there are no pictures; give at least one annotation")
    if len(annotations) != len(detections):
        raise ValueError(
            f"evaluation: {len(annotations)} annotations but {len(detections)} detections; give one of each a picture"
        )
    return _objects(annotations, label_map), _found(detections, label_map)


def areas(boxes: np.ndarray) -> np.ndarray:
    """Give the areas float64 [N] of boxes [N, 4] xyxy; one that ends before it begins has none."""
    _, _, widths, heights = _xywh(boxes)
    return widths * heights


def overlapping(found: Found, objects: Objects, *, at_least: float, same_class: bool) -> Iterator[Pairs]:
    """Give the pairs in the same picture that overlap so much, in parts of whole pictures that fit into memory.

    Args:
        at_least: the smallest IoU, above 0.
        same_class: leave out pairs of different classes.
    Yields:
        Pairs in the order of the detections, those of a detection in the order of the objects.
    """
    classes = 1 + max(found.classes.max(initial=0), objects.classes.max(initial=0)) if same_class else 1
    wanted, there = (
        table.pictures.astype(np.int64) * classes + (table.classes if same_class else 0) for table in (found, objects)
    )
    firsts = np.searchsorted(there, wanted, side="left")
    counts = np.searchsorted(there, wanted, side="right") - firsts
    for rows in _parts(found.pictures, counts):
        count = counts[rows]
        pairs_found = np.repeat(np.arange(rows.start, rows.stop), count)
        within = np.arange(len(pairs_found)) - np.repeat(np.cumsum(count) - count, count)
        pairs_objects = np.repeat(firsts[rows], count) + within
        ious = _ious(found.boxes[pairs_found], objects.boxes[pairs_objects], objects.crowds[pairs_objects])
        kept = ious >= at_least
        yield Pairs(pairs_found[kept], pairs_objects[kept], ious[kept])


def _parts(pictures: np.ndarray, counts: np.ndarray) -> Iterator[slice]:
    """Cut the rows where a picture begins, so that few parts have more pairs than wanted."""
    begins = np.append(np.flatnonzero(np.diff(pictures, prepend=-1)), len(pictures))
    before = np.append(0, np.cumsum(counts))[begins]
    start = 0
    while start < len(begins) - 1:
        end = int(np.searchsorted(before, before[start] + _PAIRS_AT_ONCE, side="right")) - 1
        end = max(end, start + 1)
        yield slice(int(begins[start]), int(begins[end]))
        start = end


def _ious(found: np.ndarray, objects: np.ndarray, crowds: np.ndarray) -> np.ndarray:
    """Give the IoUs [P] of boxes [P, 4] with boxes, in the arithmetic of pycocotools' ``bbIou``."""
    (x, y, width, height), (other_x, other_y, other_width, other_height) = _xywh(found), _xywh(objects)
    common_width = np.minimum(x + width, other_x + other_width) - np.maximum(x, other_x)
    common_height = np.minimum(y + height, other_y + other_height) - np.maximum(y, other_y)
    common = np.maximum(common_width, 0) * np.maximum(common_height, 0)
    own = width * height
    union = np.where(crowds, own, own + other_width * other_height - common)
    return np.divide(common, union, out=np.zeros_like(common), where=common > 0)


def _xywh(boxes: np.ndarray) -> tuple[np.ndarray, ...]:
    x1, y1, x2, y2 = boxes.T.astype(np.float64)
    return x1, y1, np.maximum(x2 - x1, 0), np.maximum(y2 - y1, 0)


def _objects(annotations: Sequence[Annotation], label_map: LabelMap) -> Objects:
    ids = {name: class_id for class_id, name in enumerate(label_map.names, start=1)}
    for annotation in annotations:
        if unknown := set(annotation.names) - set(ids):
            raise ValueError(
                f"{annotation.image}: {min(unknown)!r} is not in the label map {list(ids)}; add it or leave it out"
            )
    pictures = np.repeat(np.arange(len(annotations), dtype=np.int32), [len(each.names) for each in annotations])
    classes = np.array([ids[name] for each in annotations for name in each.names], np.int32)
    crowds = _joined([each.crowd for each in annotations])
    order = np.lexsort((classes, pictures))
    return Objects(
        pictures[order],
        classes[order],
        _joined([each.boxes for each in annotations])[order],
        (crowds | _joined([each.difficult for each in annotations]))[order],
        crowds[order],
    )


def _found(detections: Sequence[Detections], label_map: LabelMap) -> Found:
    classes = _joined([each.classes for each in detections]).astype(np.int32)
    if unknown := set(np.unique(classes).tolist()) - set(range(1, len(label_map) + 1)):
        raise ValueError(
            f"evaluation: detected class {min(unknown)} is not in the label map; its ids are 1 to {len(label_map)}"
        )
    pictures = np.repeat(np.arange(len(detections), dtype=np.int32), [len(each) for each in detections])
    scores = _joined([each.scores for each in detections])
    order = np.lexsort((-scores, classes, pictures))
    groups = pictures[order].astype(np.int64) * (len(label_map) + 1) + classes[order]
    begins = np.flatnonzero(np.diff(groups, prepend=-1))
    ranks = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
    kept = order[ranks < MOST_DETECTIONS]
    return Found(
        pictures[kept],
        classes[kept],
        _joined([each.boxes for each in detections])[kept],
        scores[kept],
        ranks[ranks < MOST_DETECTIONS].astype(np.int32),
    )


def _joined(arrays: Sequence[np.ndarray | None]) -> np.ndarray:
    return np.concatenate([array for array in arrays if array is not None])
