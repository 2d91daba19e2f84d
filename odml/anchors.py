"""Grids of anchors: the boxes that a detector's outputs are relative to, yxyx, 0..1 of the image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def ssd_anchors(
    grids: Sequence[tuple[int, int]],
    *,
    image_size: tuple[int, int],
    min_scale: float,
    max_scale: float,
    aspect_ratios: Sequence[float],
    reduce_boxes_in_lowest_layer: bool,
) -> np.ndarray:
    """Make SSD's anchors in the order of the TF Object Detection API: grid, row, column, shape.

    Scale k of m grids is ``min + (max - min) k / (m - 1)`` (Liu et al. 2016, section 2.2, equation 4); a cell has
    one anchor an aspect ratio and one square of the geometric mean of its scale and the next. Anchors are centred
    on their cells and not clipped.

    Args:
        grids: (rows, columns) of each feature map, finest first; at least two.
        image_size: (height, width) in pixels; scales are fractions of the shorter side.
        aspect_ratios: width over height.
        reduce_boxes_in_lowest_layer: give the first grid three anchors: (scale .1, ratio 1) and (scale
            ``min_scale``, ratios 2 and 1/2).
    Returns:
        float32 [A, 4] yxyx, 0..1 of the image (beyond it near the border).
    """
    steps = len(grids) - 1
    scales = [min_scale + (max_scale - min_scale) * k / steps for k in range(len(grids))] + [1.0]
    layers = []
    for k, grid in enumerate(grids):
        shapes = [(scales[k], ratio) for ratio in aspect_ratios] + [(math.sqrt(scales[k] * scales[k + 1]), 1.0)]
        if k == 0 and reduce_boxes_in_lowest_layer:
            shapes = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        layers.append(_grid_anchors(grid, shapes, image_size))
    return np.concatenate(layers).astype(np.float32)


def anchors_per_cell(grids: int, *, aspect_ratios: Sequence[float], reduce_boxes_in_lowest_layer: bool) -> list[int]:
    """Count the anchors of one cell of each grid, as ``ssd_anchors`` makes them."""
    counts = [len(aspect_ratios) + 1] * grids
    return [3, *counts[1:]] if reduce_boxes_in_lowest_layer else counts


def _grid_anchors(
    grid: tuple[int, int], shapes: Sequence[tuple[float, float]], image_size: tuple[int, int]
) -> np.ndarray:
    rows, columns = grid
    height, width = image_size
    sides = np.array([[scale / math.sqrt(ratio), scale * math.sqrt(ratio)] for scale, ratio in shapes])
    sides = sides * min(height, width) / np.array([height, width])  # [K, 2], height and width
    y, x = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    centres = np.stack([y, x], axis=-1)[:, :, None, :]  # [rows, columns, 1, 2]
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1).reshape(-1, 4)
