"""Expected values from the TF Object Detection API's anchor tests, or worked by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from odml.anchors import anchors_per_cell, ssd_anchors

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


def test_squares_are_square_in_pixels_of_an_oblong_image():
    anchors = make(
        [(1, 2), (1, 1)],
        image_size=(320, 640),
        min_scale=1.0,
        max_scale=1.0,
        aspect_ratios=[1.0],
        reduce_boxes_in_lowest_layer=False,
    )
    assert anchors[:4].tolist() == [[0, 0, 1, 0.5], [0, 0, 1, 0.5], [0, 0.5, 1, 1], [0, 0.5, 1, 1]]


@pytest.mark.parametrize(
    ("reduced", "first"), [(True, [0.1, 0.2, 0.2]), (False, [0.2, 0.264])], ids=["reduced", "not reduced"]
)
def test_scales_are_spread_over_the_grids(reduced, first):
    anchors = make([(1, 1)] * 6, aspect_ratios=[1.0], reduce_boxes_in_lowest_layer=reduced)
    later = [0.35, 0.418, 0.499, 0.570, 0.649, 0.721, 0.799, 0.871, 0.949, 0.974]
    assert mean_sides(anchors) == pytest.approx(first + later, abs=1e-2)


def test_reduced_first_grid_has_a_small_square_a_wide_and_a_tall_anchor():
    anchors = make([(1, 1), (1, 1)])[:3]
    heights, widths = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    assert widths / heights == pytest.approx([1, 2, 0.5])
    assert mean_sides(anchors) == pytest.approx([0.1, 0.2, 0.2])


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
