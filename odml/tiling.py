"""Detecting small objects: a picture is looked at whole and in tiles that overlap, and what they find is merged.

A network that scales each picture to a fixed size does not see objects of a few pixels; in a tile they are larger.
This is sliced inference (Akyon et al., "Slicing Aided Hyper Inference and Fine-tuning for Small Object Detection",
ICIP 2022), whose measure of overlap, the intersection over the smaller box, is used for what a tile cuts: there is a
part of an object beside the whole. Two whole boxes are compared by their IoU.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from odml.boxes import area, intersection, iou
from odml.errors import ConfigurationError
from odml.structures import Detections

MERGED_OVERLAP = 0.5
_AT_EDGE = 0.01  # of a tile's side: a box that comes as near to an inner edge is probably cut there

Window = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels of the picture, half-open


@dataclass(frozen=True)
class Tiling:
    """How pictures are cut: into a grid of columns and rows, or, where these are 0, into squares of ``side`` pixels.

    Neighbours share at least ``overlap`` of a tile's side.
    """

    columns: int = 0
    rows: int = 0
    side: int = 0
    overlap: float = 0.2

    @classmethod
    def parse(cls, text: str, *, overlap: float) -> Tiling:
        """Read "3x2", columns and rows, or "512", pixels.

        Raises:
            ConfigurationError: neither, or an overlap that is not in 0 to 0.9.
        """
        if not 0 <= overlap <= 0.9:
            raise ConfigurationError(f"tile_overlap: {overlap} is not in 0 to 0.9; give a share of a tile's side")
        if grid := re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", text):
            return cls(columns=int(grid[1]), rows=int(grid[2]), overlap=overlap)
        if re.fullmatch(r"[1-9]\d{1,4}", text):
            return cls(side=int(text), overlap=overlap)
        raise ConfigurationError(
            f"tiles: {text!r} is not columns x rows, such as 2x2, nor a tile's side of 10 to 99999 pixels, such as 512"
        )

    def windows(self, *, width: int, height: int) -> list[Window]:
        """Give the tiles of a picture of that size, all of one size, row by row; none if one would be all of it."""
        across, down = (
            _spans(length, count=count, side=self.side, overlap=self.overlap)
            for length, count in ((width, self.columns), (height, self.rows))
        )
        if len(across) == len(down) == 1:
            return []
        return [(x1, y1, x2, y2) for y1, y2 in down for x1, x2 in across]


def _spans(length: int, *, count: int, side: int, overlap: float) -> list[tuple[int, int]]:
    """Spread tiles evenly over a length: ``count`` of them, or, where that is 0, as many of ``side`` as it takes."""
    if count:
        side = math.ceil(length / (count - (count - 1) * overlap))
    else:
        side = min(side, length)
        count = 1 + math.ceil((length - side) / max(1, round(side * (1 - overlap))))
    starts = [round(number * (length - side) / (count - 1)) for number in range(count)] if count > 1 else [0]
    return [(start, start + side) for start in dict.fromkeys(starts)]


def merge(
    found: Sequence[tuple[Window, Detections]], *, width: int, height: int, overlap: float = MERGED_OVERLAP
) -> Detections:
    """Put together what was found in the windows of a picture, one of which may be all of it; best first.

    Of detections of one class in different windows that overlap by more than ``overlap``, one stays: a whole one rather
    than one that its window seems to cut, then the better one. The overlap of two whole ones is their IoU; otherwise it
    is the share of the smaller box that is in the other.

    Args:
        found: each window and its detections, in pixels of the window.
    """
    boxes = np.concatenate([each.boxes + np.array([x1, y1, x1, y1], np.float32) for (x1, y1, _, _), each in found])
    scores = np.concatenate([each.scores for _, each in found])
    classes = np.concatenate([each.classes for _, each in found])
    origins = np.repeat(np.arange(len(found)), [len(each) for _, each in found])
    cut = np.concatenate([_is_cut(each.boxes, window, width=width, height=height) for window, each in found])
    areas = area(boxes)

    def rivals(index: int) -> np.ndarray:
        smaller = np.minimum(areas[index], areas)
        common = intersection(boxes[index : index + 1], boxes)[0]
        shared = np.divide(common, smaller, out=np.zeros_like(smaller), where=smaller > 0)
        overlaps = np.where(cut[index] | cut, shared, iou(boxes[index : index + 1], boxes)[0])
        return (overlaps > overlap) & (classes == classes[index]) & (origins != origins[index])

    kept = _greedy(np.lexsort((-scores, cut)), rivals)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    return Detections(boxes[kept], scores[kept], classes[kept])


def suppress(detections: Detections, *, max_iou: float) -> Detections:
    """Of detections of one class that overlap by more than ``max_iou``, keep the best (greedy NMS, class by class)."""
    boxes, classes = detections.boxes, detections.classes

    def rivals(index: int) -> np.ndarray:
        return (iou(boxes[index : index + 1], boxes)[0] > max_iou) & (classes == classes[index])

    kept = _greedy(np.argsort(-detections.scores, kind="stable"), rivals)
    return Detections(boxes[kept], detections.scores[kept], classes[kept])


def _greedy(order: np.ndarray, rivals: Callable[[int], np.ndarray]) -> np.ndarray:
    """Take indices in an order, but none that is a rival (bool [N]) of one that was taken."""
    free = np.ones(len(order), np.bool_)
    kept = []
    for index in order:
        if free[index]:
            kept.append(index)
            free &= ~rivals(index)
    return np.array(kept, np.int64)


def _is_cut(boxes: np.ndarray, window: Window, *, width: int, height: int) -> np.ndarray:
    """Tell which boxes, in pixels of the window, reach an edge of it that is none of the picture."""
    x1, y1, x2, y2 = window
    near_x, near_y = _AT_EDGE * (x2 - x1), _AT_EDGE * (y2 - y1)
    return (
        ((boxes[:, 0] < near_x) & (x1 > 0))
        | ((boxes[:, 1] < near_y) & (y1 > 0))
        | ((boxes[:, 2] > x2 - x1 - near_x) & (x2 < width))
        | ((boxes[:, 3] > y2 - y1 - near_y) & (y2 < height))
    )
