"""Expected values from the TF Object Detection API's tests of its box lists."""

from __future__ import annotations

import numpy as np
import pytest

from odml.boxes import area, iou, voc_to_xyxy, xyxy_to_yxyx, yxyx_to_xyxy

FEW = np.array([[4, 3, 7, 5], [5, 6, 10, 7]], np.float32)
MORE = np.array([[3, 4, 6, 8], [14, 14, 15, 15], [0, 0, 20, 20]], np.float32)


@pytest.mark.parametrize(
    ("boxes", "others", "expected"),
    [
        (FEW, MORE, [[2 / 16, 0, 6 / 400], [1 / 16, 0, 5 / 400]]),
        (FEW, MORE[:0], np.zeros([2, 0])),
        (FEW[:0], MORE, np.zeros([0, 3])),
        (FEW[:0], MORE[:0], np.zeros([0, 0])),
        (np.zeros([1, 4]), np.zeros([1, 4]), [[0]]),
    ],
    ids=["two by three", "two by none", "none by three", "none by none", "without area"],
)
def test_iou_is_of_each_with_each(boxes, others, expected):
    assert iou(boxes, others) == pytest.approx(np.array(expected))


def test_area_is_height_times_width_and_none_of_an_inverted_box():
    assert area(np.array([[0, 0, 10, 20], [1, 2, 3, 4], [3, 2, 1, 4]])).tolist() == [200, 4, 0]


# Boxes 0..1 are ymin, xmin, ymax, xmax; those in pixels x1, y1, x2, y2.
@pytest.mark.parametrize(
    ("height", "width", "yxyx", "xyxy"),
    [
        (100, 200, [[0, 0, 1, 1], [0.5, 0.6, 1, 0.7]], [[0, 0, 200, 100], [120, 50, 140, 100]]),
        (60, 40, [[0.1, 0.2, 0.4, 0.6], [0.5, 0.3, 0.9, 0.7]], [[8, 6, 24, 24], [12, 30, 28, 54]]),
        (4, 4, [[0, 0, 1, 1], [0.5, 0.5, 1, 1]], [[0, 0, 4, 4], [2, 2, 4, 4]]),
        (4, 4, np.zeros([0, 4]), np.zeros([0, 4])),
    ],
    ids=["scale", "scale_boxes_to_pixel_coordinates", "normalized_to_image_coordinates", "no boxes"],
)
def test_boxes_are_scaled_by_the_picture_s_size(height, width, yxyx, xyxy):
    to_pixels = yxyx_to_xyxy(np.array(yxyx), width=width, height=height)
    assert to_pixels == pytest.approx(np.array(xyxy), abs=1e-5)
    back = xyxy_to_yxyx(np.array(xyxy), width=width, height=height)
    assert back == pytest.approx(np.array(yxyx), abs=1e-6)
    assert (to_pixels.dtype, back.dtype) == (np.float32, np.float32)


def test_voc_boxes_count_from_1_and_include_their_last_pixel():
    assert voc_to_xyxy(np.array([[1, 1, 1, 1], [48, 240, 195, 371]])).tolist() == [[0, 0, 1, 1], [47, 239, 195, 371]]
