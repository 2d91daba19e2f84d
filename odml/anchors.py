"""Grids of anchors: the boxes, yxyx, that a detector's outputs are relative to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf


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
        layers.append(spread_anchors(grid, shapes, image_size=image_size))
    return np.concatenate(layers).astype(np.float32)


def anchors_per_cell(grids: int, *, aspect_ratios: Sequence[float], reduce_boxes_in_lowest_layer: bool) -> list[int]:
    """Count the anchors of one cell of each grid, as ``ssd_anchors`` makes them."""
    counts = [len(aspect_ratios) + 1] * grids
    return [3, *counts[1:]] if reduce_boxes_in_lowest_layer else counts


def spread_anchors(
    grid: tuple[int, int], shapes: Sequence[tuple[float, float]], *, image_size: tuple[int, int]
) -> np.ndarray:
    """Lay the same shapes over each cell of a grid that covers the image, centred on the cell and not clipped.

    Args:
        grid: (rows, columns).
        shapes: (scale, aspect ratio) of each anchor of a cell; the scale is a fraction of the image's shorter side,
            the aspect ratio width over height.
        image_size: (height, width) in pixels.
    Returns:
        float64 [rows * columns * K, 4] yxyx, 0..1 of the image, in the order row, column, shape.
    """
    rows, columns = grid
    height, width = image_size
    sides = np.array([[scale / math.sqrt(ratio), scale * math.sqrt(ratio)] for scale, ratio in shapes])
    sides = sides * min(height, width) / np.array([height, width])  # [K, 2], height and width
    y, x = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    centres = np.stack([y, x], axis=-1)[:, :, None, :]  # [rows, columns, 1, 2]
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1).reshape(-1, 4)


def grid_anchors(
    rows: int | tf.Tensor,
    columns: int | tf.Tensor,
    *,
    stride: float,
    base_size: float,
    scales: Sequence[float],
    aspect_ratios: Sequence[float],
    offset: tuple[float, float] = (0.0, 0.0),
) -> tf.Tensor:
    """Make Faster R-CNN's anchors, in pixels, for a feature map whose size only the running graph may know.

    Source: Ren et al., Faster R-CNN (2015), section 3.1.1; order and centres as in the TF Object Detection API.

    Args:
        stride: pixels from one cell to the next.
        base_size: side in pixels of the square of scale 1.
        aspect_ratios: width over height; the area is the same for all.
        offset: (y, x) in pixels of the first cell's centre; without one that is the image's corner.
    Returns:
        float32 [rows * columns * K, 4] yxyx in pixels, not clipped, in the order row, column, aspect ratio, scale.
    """
    sides = base_size * np.array(
        [[s / math.sqrt(r), s * math.sqrt(r)] for r in aspect_ratios for s in scales]
    )  # [K, 2]
    shapes = tf.constant(np.concatenate([-sides / 2, sides / 2], axis=1), tf.float32)
    y = tf.cast(tf.range(rows), tf.float32) * stride + offset[0]
    x = tf.cast(tf.range(columns), tf.float32) * stride + offset[1]
    centres = tf.stack(tf.meshgrid(y, x, indexing="ij"), axis=-1)[:, :, None, :]  # [rows, columns, 1, 2]
    return tf.reshape(tf.tile(centres, [1, 1, 1, 2]) + shapes, [-1, 4])
