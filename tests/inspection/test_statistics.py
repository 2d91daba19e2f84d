from pathlib import Path

import numpy as np
import pytest

from odml.inspection.statistics import SELDOM, AnchorMatch, ClassStatistics, Statistics, summarize
from odml.structures import Annotation

A, B, C = Path("a.png"), Path("b.png"), Path("c.png")
DIGESTS = {A: "1", B: "2", C: "1"}


def annotation(image: Path, *objects: tuple[str, tuple[int, int, int, int]], **flags: list[bool]) -> Annotation:
    return Annotation(
        image=image,
        width=400,
        height=200,
        boxes=np.array([box for _, box in objects], np.float32).reshape(-1, 4),
        names=tuple(name for name, _ in objects),
        **{name: np.array(values, np.bool_) for name, values in flags.items()},
    )


@pytest.fixture
def statistics() -> Statistics:
    return summarize(
        [
            annotation(
                A,
                ("cat", (0, 0, 31, 33)),
                ("cat", (0, 0, 32, 32)),
                ("dog", (0, 0, 96, 96)),
                difficult=[True, False, False],
                truncated=[True, True, False],
            ),
            annotation(B, ("cat", (100, 50, 200, 100))),
            annotation(C),
        ],
        digests=DIGESTS,
    )


def test_objects_of_each_class_are_counted_by_coco_size_and_flag(statistics: Statistics):
    assert statistics.classes == {
        "cat": ClassStatistics(images=2, objects=3, small=1, medium=2, large=0, truncated=2, difficult=1),
        "dog": ClassStatistics(images=1, objects=1, small=0, medium=0, large=1, truncated=0, difficult=0),
    }
    assert list(statistics.classes) == ["cat", "dog"]


def test_boxes_are_measured(statistics: Statistics):
    np.testing.assert_array_equal(statistics.sizes, [[31, 33], [32, 32], [96, 96], [100, 50]])
    assert statistics.aspect_ratios[3] == 2
    np.testing.assert_array_equal(statistics.objects_per_image, [3, 1, 0])
    np.testing.assert_array_equal(statistics.image_sizes, [[400, 200]] * 3)


def test_the_cells_that_boxes_cover_are_counted(statistics: Statistics):
    covered = np.zeros((40, 40), int)
    for rows, columns in ((7, 3), (6, 3), (19, 10)):
        covered[:rows, :columns] += 1
    covered[10:20, 10:20] += 1
    np.testing.assert_array_equal(statistics.places, covered)


@pytest.mark.parametrize(("box", "cells"), [((399, 199, 400, 200), 0), ((0, 0, 1, 1), 1), ((398, 0, 400, 200), 0)])
def test_a_box_too_small_for_a_cell_covers_one_unless_it_is_at_the_far_edge(box: tuple[int, ...], cells: int):
    assert summarize([annotation(A, ("cat", box))], digests=DIGESTS).places.sum() == cells


def test_metrics(statistics: Statistics):
    assert statistics.metrics() == {
        "data/annotated_images": 3,
        "data/annotated_objects": 4,
        "data/classes": 2,
        "data/seldom_classes": 2,
        "data/empty_images": 1,
        "data/duplicate_images": 1,
        "data/objects_per_image": pytest.approx(4 / 3),
        "data/small_share": 0.25,
        "data/medium_share": 0.5,
        "data/large_share": 0.25,
        "data/truncated_share": 0.5,
        "data/difficult_share": 0.25,
        "data/matched_by_anchors": None,
    }


def test_advice(statistics: Statistics):
    assert statistics.advice() == [
        "classes with fewer than 20 objects: cat (3), dog (1); they are hard to learn, add pictures",
        "1 of 3 pictures show the same as another; remove them, they count double",
    ]


def test_a_class_with_enough_objects_is_not_seldom():
    many = [annotation(A, *[("cat", (0, 0, 40, 40))] * SELDOM)]
    assert summarize(many, digests=DIGESTS).advice() == []


def test_classes_that_hardly_an_anchor_fits_are_told():
    anchors = AnchorMatch("tiny", 0.5, share=0.6, of_class={"cat": 0.25, "dog": 0.95})
    many = [annotation(A, *[("cat", (0, 0, 40, 40)), ("dog", (0, 0, 90, 90))] * SELDOM)]
    statistics = summarize(many, digests=DIGESTS, anchors=anchors)
    assert statistics.advice() == [
        "classes of which less than half overlap an anchor of tiny by 0.5 or more: cat (25%); the rest is hard to "
        "learn, give a YAML file that extends the model with anchors of their sizes and shapes; for small ones with "
        "image_size: [416, 416] and anchors: {min_scale: 0.07, reduce_boxes_in_lowest_layer: false}, or Faster R-CNN "
        "with more min_side"
    ]
    assert [row["matched_by_anchors"] for row in statistics.class_table()] == [0.25, 0.95]
    assert statistics.metrics()["data/matched_by_anchors"] == 0.6


def test_nothing_at_all_has_statistics_too():
    statistics = summarize([], digests={})
    assert (statistics.classes, statistics.class_table(), statistics.advice()) == ({}, [], [])
    assert {name for name, value in statistics.metrics().items() if value} == set()
