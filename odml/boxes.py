"""Box algebra, and the conversions between the two conventions.

    xyxy   pixels of the picture, [x1, y1, x2, y2], half-open     (people, files: odml.structures)
    yxyx   0..1 of the picture, [ymin, xmin, ymax, xmax]           (TensorFlow: records, batches, networks)

Here is numpy only; the same algebra on tensors is in odml.targets.
"""

from __future__ import annotations

import numpy as np


def voc_to_xyxy(boxes: np.ndarray) -> np.ndarray:
    """Convert Pascal VOC boxes to half-open pixels.

    VOC counts pixels from 1 and includes the last one (VOC2008 development kit, "bounding box"): its
    ``xmin = ymin = xmax = ymax = 1`` is the first pixel, here ``[0, 0, 1, 1]``.

    Args:
        boxes: [N, 4] VOC ``xmin, ymin, xmax, ymax``.
    Returns:
        float32 [N, 4].
    """
    return (np.asarray(boxes, np.float32) - np.array([1, 1, 0, 0], np.float32)).reshape(-1, 4)


def xyxy_to_yxyx(boxes: np.ndarray, *, width: int, height: int) -> np.ndarray:
    """Convert pixels [N, 4] to 0..1 of a picture of that size, float32 [N, 4]."""
    scaled = np.asarray(boxes, np.float32).reshape(-1, 4) / np.array([width, height, width, height], np.float32)
    return scaled[:, [1, 0, 3, 2]]


def yxyx_to_xyxy(boxes: np.ndarray, *, width: int, height: int) -> np.ndarray:
    """Convert 0..1 boxes [N, 4] to pixels of a picture of that size, float32 [N, 4]."""
    swapped = np.asarray(boxes, np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]]
    return swapped * np.array([width, height, width, height], np.float32)


def area(boxes: np.ndarray) -> np.ndarray:
    """Give the areas [N] of boxes [N, 4] of either convention; an inverted box has area 0."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def intersection(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Give the areas [N, M] that boxes [N, 4] and others [M, 4] of one convention have in common."""
    top = np.maximum(boxes[:, None, :2], others[None, :, :2])  # [N, M, 2]
    bottom = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides = np.maximum(bottom - top, 0)
    return sides[..., 0] * sides[..., 1]


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Give the intersection over union [N, M] of boxes [N, 4] and others [M, 4] of one convention.

    A pair whose union has no area has IoU 0.
    """
    shared = intersection(boxes, others)
    union = area(boxes)[:, None] + area(others)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)
