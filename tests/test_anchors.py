"""Expected values from the TF Object Detection API's anchor tests, or worked by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from odml.anchors import anchors_per_cell, grid_anchors, spread_anchors, ssd_anchors

RELEASED = {
    "min_scale": 0.2,
    "max_scale": 0.95,
    "aspect_ratios": [1.0, 2.0, 0.5, 3.0, 0.3333],
    "reduce_boxes_in_lowest_layer": True,
}
GRIDS_300 = [(19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]


def make(grids, *, image_size=(300, 300), **changes):
    return ssd_anchors(grids, image_size=image_size, **(RELEASED | changes))


def mean_sides(anchors):
    """Give sqrt(height * width): the scale, whatever the aspect ratio."""
    return np.sqrt((anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1]))


def aspect_ratios(anchors):
    return (anchors[:, 3] - anchors[:, 1]) / (anchors[:, 2] - anchors[:, 0])


def test_cells_come_row_by_row_and_a_cell_has_its_ratios_then_the_scale_between():
    # Scales .5 and 1, then 1: a 2 x 1 grid of (.5, ratio 1), (.5, ratio 4) and (sqrt(.5), ratio 1).
    anchors = make(
        [(2, 1), (1, 1)],
        min_scale=0.5,
        max_scale=1.0,
        aspect_ratios=[1.0, 4.0],
        reduce_boxes_in_lowest_layer=False,
    )
    half = math.sqrt(0.5) / 2
    assert anchors == pytest.approx(
        np.array(
            [
                [0.0, 0.25, 0.5, 0.75],
                [0.125, 0.0, 0.375, 1.0],
                [0.25 - half, 0.5 - half, 0.25 + half, 0.5 + half],
                [0.5, 0.25, 1.0, 0.75],
                [0.625, 0.0, 0.875, 1.0],
                [0.75 - half, 0.5 - half, 0.75 + half, 0.5 + half],
                [0.0, 0.0, 1.0, 1.0],
                [0.25, -0.5, 0.75, 1.5],
                [0.0, 0.0, 1.0, 1.0],
            ]
        )
    )
    assert anchors.dtype == np.float32


# The original's single anchor: base size 256, offset (7, -3).
NINE_BOXES = [
    [-121, -35, 135, 29],
    [-249, -67, 263, 61],
    [-505, -131, 519, 125],
    [-57, -67, 71, 61],
    [-121, -131, 135, 125],
    [-249, -259, 263, 253],
    [-25, -131, 39, 125],
    [-57, -259, 71, 253],
    [-121, -515, 135, 509],
]
# Its "multiple grids": shapes (scale, aspect ratio), and what they are as heights and widths.
SQUARE, LARGE, TALL = (1.0, 1.0), (2.0, 1.0), (1.0, 0.5)
H, W = math.sqrt(2), 1 / math.sqrt(2)


def around(y, x, height, width):
    return [y - height / 2, x - width / 2, y + height / 2, x + width / 2]


@pytest.mark.parametrize(
    ("grid", "shapes", "image_size", "boxes"),
    [
        (
            (1, 1),
            [(scale, ratio) for ratio in (0.25, 1, 4) for scale in (0.5, 1, 2)],
            (1, 1),
            # In units of the base size, around a centre that is the cell's.
            0.5 + (np.array(NINE_BOXES) - [7, -3, 7, -3]) / 256,
        ),
        ((1, 2), [SQUARE], (1, 1), [[0, -0.25, 1, 0.75], [0, 0.25, 1, 1.25]]),
        ((1, 2), [SQUARE], (320, 640), [[0, 0, 1, 0.5], [0, 0.5, 1, 1]]),
        (
            (4, 4),
            [SQUARE, LARGE, TALL],
            (300, 300),
            [
                around(y, x, *sides)
                for y in (0.125, 0.375, 0.625, 0.875)
                for x in (0.125, 0.375, 0.625, 0.875)
                for sides in ((1, 1), (2, 2), (H, W))
            ],
        ),
        (
            (2, 2),
            [SQUARE, TALL],
            (300, 300),
            [
                [-0.25, -0.25, 0.75, 0.75],
                [0.25 - H / 2, 0.25 - W / 2, 0.25 + H / 2, 0.25 + W / 2],
                [-0.25, 0.25, 0.75, 1.25],
                [0.25 - H / 2, 0.75 - W / 2, 0.25 + H / 2, 0.75 + W / 2],
                [0.25, -0.25, 1.25, 0.75],
                [0.75 - H / 2, 0.25 - W / 2, 0.75 + H / 2, 0.25 + W / 2],
                [0.25, 0.25, 1.25, 1.25],
                [0.75 - H / 2, 0.75 - W / 2, 0.75 + H / 2, 0.75 + W / 2],
            ],
        ),
    ],
    ids=["single", "non_square", "normalized", "multiple grids, first", "multiple grids, second"],
)
def test_shapes_are_centred_on_each_cell_and_square_in_pixels(grid, shapes, image_size, boxes):
    assert spread_anchors(grid, shapes, image_size=image_size) == pytest.approx(np.array(boxes), abs=1e-6)


# The original's scales (anchor_generator_builder_test), those of the first grid apart.
SCALES = [0.35, 0.418, 0.499, 0.570, 0.649, 0.721, 0.799, 0.871, 0.949, 0.974]


@pytest.mark.parametrize(
    ("reduced", "first", "ratios"),
    [(True, [0.1, 0.2, 0.2], [1, 2, 0.5]), (False, [0.2, 0.264], [1, 1])],
    ids=["reduced", "not reduced"],
)
def test_scales_are_spread_over_the_grids(reduced, first, ratios):
    anchors = make([(1, 1)] * 6, aspect_ratios=[1.0], reduce_boxes_in_lowest_layer=reduced)
    assert mean_sides(anchors) == pytest.approx(first + SCALES, abs=1e-2)
    assert aspect_ratios(anchors) == pytest.approx(ratios + [1] * 10, abs=1e-5)


def test_scales_of_two_grids():
    anchors = make([(1, 1), (1, 1)], min_scale=0.3, max_scale=0.8, aspect_ratios=[2.0])
    assert mean_sides(anchors) == pytest.approx([0.1, 0.3, 0.3, 0.8, 0.894], abs=1e-3)
    assert aspect_ratios(anchors) == pytest.approx([1, 2, 0.5, 2, 1], abs=1e-5)


@pytest.mark.parametrize(("reduced", "count"), [(True, 7308), (False, 11640)])
def test_anchors_of_a_larger_network_are_counted(reduced, count):
    ratios = [1.0, 2.0, 3.0, 1 / 2, 1 / 3]
    grids = [(side, side) for side in (38, 19, 10, 5, 3, 1)]
    assert make(grids, aspect_ratios=ratios, reduce_boxes_in_lowest_layer=reduced).shape == (count, 4)
    per_cell = anchors_per_cell(6, aspect_ratios=ratios, reduce_boxes_in_lowest_layer=reduced)
    assert sum(n * rows * columns for n, (rows, columns) in zip(per_cell, grids, strict=True)) == count


def test_anchors_of_the_released_network_are_the_original_s(shared: Path):
    golden = np.load(shared / "golden" / "ssd-mobilenet-v2_3_synth_300x400.npz")["anchors"]
    anchors = make(GRIDS_300)
    assert anchors.shape == golden.shape == (1917, 4)
    assert np.abs(anchors - golden).max() < 1e-6


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize(
    ("size", "settings", "boxes"),
    [
        (
            (1, 1),
            {
                "stride": 16,
                "base_size": 256,
                "scales": [0.5, 1, 2],
                "aspect_ratios": [0.25, 1, 4],
                "offset": (7.0, -3.0),
            },
            NINE_BOXES,
        ),
        (
            (2, 2),
            {"stride": 19, "base_size": 10, "scales": [0.5, 1, 2], "aspect_ratios": [1]},
            [
                [-2.5, -2.5, 2.5, 2.5],
                [-5, -5, 5, 5],
                [-10, -10, 10, 10],
                [-2.5, 16.5, 2.5, 21.5],
                [-5, 14, 5, 24],
                [-10, 9, 10, 29],
                [16.5, -2.5, 21.5, 2.5],
                [14, -5, 24, 5],
                [9, -10, 29, 10],
                [16.5, 16.5, 21.5, 21.5],
                [14, 14, 24, 24],
                [9, 9, 29, 29],
            ],
        ),
        ((0, 3), {"stride": 16, "base_size": 256, "scales": [1], "aspect_ratios": [1]}, np.zeros([0, 4])),
    ],
    ids=["single anchor", "anchor grid", "no rows"],
)
def test_grid_anchors_are_in_pixels_by_row_column_aspect_ratio_and_scale(size, settings, boxes, in_graph):
    def call(rows, columns):
        return grid_anchors(rows, columns, **settings)

    found = tf.function(call)(*map(tf.constant, size)) if in_graph else call(*size)
    assert found.dtype == tf.float32
    assert found.numpy() == pytest.approx(np.array(boxes), abs=1e-4)


def test_grid_anchors_need_no_control_flow():
    call = tf.function(lambda n: grid_anchors(n, n, stride=16, base_size=256, scales=[1], aspect_ratios=[1]))
    operations = {node.op for node in call.get_concrete_function(tf.TensorSpec([], tf.int32)).graph.as_graph_def().node}
    assert not operations & {"If", "StatelessIf", "While", "StatelessWhile", "Switch", "Merge", "Enter"}


def test_grid_anchors_are_the_original_s(shared: Path):
    golden = np.load(shared / "golden" / "faster-rcnn-resnet-50_3_synth_300x400.npz")
    height, width = golden["preprocessed__shape"][1:3]
    anchors = grid_anchors(
        -(-height // 16), -(-width // 16), stride=16, base_size=256, scales=[0.25, 0.5, 1, 2], aspect_ratios=[0.5, 1, 2]
    )
    clipped = np.clip(anchors, 0, np.array([height, width, height, width]))
    assert clipped.shape == tuple(golden["anchors__shape"])
    strides = tuple(slice(None, None, step) for step in golden["anchors__stride"])
    assert np.abs(clipped[strides] - golden["anchors"]).max() < 1e-3
