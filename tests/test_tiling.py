import numpy as np
import pytest

from odml.errors import ConfigurationError
from odml.tiling import Tiling, merge, suppress
from tests.found import detections, rows_of


@pytest.mark.parametrize(
    ("text", "tiling"),
    [("3x2", Tiling(columns=3, rows=2, overlap=0.25)), ("640", Tiling(side=640, overlap=0.25))],
)
def test_grid_and_side_are_read(text, tiling):
    assert Tiling.parse(text, overlap=0.25) == tiling


@pytest.mark.parametrize("text", ["2", "0x2", "2x", "100x2", "-640", "2 x 2"])
def test_other_texts_are_refused(text):
    with pytest.raises(ConfigurationError) as raised:
        Tiling.parse(text, overlap=0.2)
    assert str(raised.value) == (
        f"tiles: {text!r} is not columns x rows, such as 2x2, nor a tile's side of 10 to 99999 pixels, such as 512"
    )


def test_overlap_out_of_range_is_refused():
    with pytest.raises(ConfigurationError) as raised:
        Tiling.parse("2x2", overlap=1.0)
    assert str(raised.value) == "tile_overlap: 1.0 is not in 0 to 0.9; give a share of a tile's side"


def test_grid_covers_the_picture_with_the_overlap():
    windows = Tiling(columns=2, rows=1, overlap=0.5).windows(width=300, height=100)
    assert windows == [(0, 0, 200, 100), (100, 0, 300, 100)]


def test_as_many_tiles_of_a_side_as_it_takes():
    windows = Tiling(side=100, overlap=0.2).windows(width=250, height=90)
    assert windows == [(0, 0, 100, 90), (75, 0, 175, 90), (150, 0, 250, 90)]


@pytest.mark.parametrize("tiling", [Tiling(side=100), Tiling(columns=1, rows=1)])
def test_tile_of_all_of_the_picture_is_left_out(tiling):
    assert tiling.windows(width=100, height=80) == []


@pytest.mark.parametrize("tiling", [Tiling(columns=7, rows=3, overlap=0.3), Tiling(side=37, overlap=0.9)])
def test_tiles_are_of_one_size_and_leave_nothing_out(tiling):
    windows = tiling.windows(width=203, height=97)
    assert len({(x2 - x1, y2 - y1) for x1, y1, x2, y2 in windows}) == 1
    seen = np.zeros((97, 203), bool)
    for x1, y1, x2, y2 in windows:
        assert 0 <= x1 < x2 <= 203
        assert 0 <= y1 < y2 <= 97
        seen[y1:y2, x1:x2] = True
    assert seen.all()


LEFT, RIGHT = (0, 0, 120, 100), (80, 0, 200, 100)


def test_object_in_the_overlap_of_two_tiles_is_found_once():
    found = [(LEFT, detections(([85, 10, 110, 50], 0.8, 1))), (RIGHT, detections(([5, 10, 30, 50], 0.9, 1)))]
    assert rows_of(merge(found, width=200, height=100)) == [([85, 10, 110, 50], 0.9, 1)]


def test_object_that_a_tile_cuts_is_taken_whole():
    found = [(LEFT, detections(([100, 10, 120, 50], 0.9, 1))), (RIGHT, detections(([20, 10, 90, 50], 0.6, 1)))]
    assert rows_of(merge(found, width=200, height=100)) == [([100, 10, 170, 50], 0.6, 1)]


def test_small_whole_object_inside_a_large_one_stays():
    whole = (0, 0, 200, 100)
    found = [(whole, detections(([10, 10, 100, 90], 0.9, 1))), (LEFT, detections(([40, 40, 60, 60], 0.8, 1)))]
    assert len(merge(found, width=200, height=100)) == 2


def test_objects_of_other_classes_or_of_one_tile_are_not_rivals():
    box = [10, 10, 50, 50]
    found = [(LEFT, detections((box, 0.9, 1), (box, 0.8, 1))), ((0, 0, 200, 100), detections((box, 0.7, 2)))]
    assert len(merge(found, width=200, height=100)) == 3


def test_nothing_in_any_tile_is_nothing():
    assert len(merge([(LEFT, detections()), (RIGHT, detections())], width=200, height=100)) == 0


def test_suppression_keeps_the_best_of_a_class():
    found = detections(([0, 0, 10, 10], 0.5, 1), ([0, 0, 10, 9], 0.9, 1), ([0, 0, 10, 10], 0.8, 2))
    assert rows_of(suppress(found, max_iou=0.8)) == [([0, 0, 10, 9], 0.9, 1), ([0, 0, 10, 10], 0.8, 2)]
    assert len(suppress(found, max_iou=0.95)) == 3
    assert len(suppress(detections(), max_iou=0.5)) == 0
