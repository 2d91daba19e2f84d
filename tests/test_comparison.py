from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from odml.comparison import Evaluated, Row, changes, compare
from odml.structures import Annotation, Detections, LabelMap
from tests.pets import CAT, PETS, annotation, detections, random_set

LEFT, RIGHT = (0, 0, 40, 40), (50, 0, 90, 40)


def named(name: str, *objects) -> Annotation:
    return dataclasses.replace(annotation(*objects), image=Path(name))


def evaluated(*pictures: tuple[Annotation, Detections], label_map: LabelMap = PETS) -> Evaluated:
    annotations, found = zip(*pictures, strict=True)
    return Evaluated(list(annotations), list(found), label_map)


A = named("a.jpg", ("cat", *LEFT), ("dog", *RIGHT))
B = named("b.jpg", ("cat", *LEFT))
C = named("c.jpg")


def rounded(*figures: float | None) -> tuple[float | None, ...]:
    return tuple(None if figure is None else round(figure, 9) for figure in figures)


def test_figures_of_both_stand_beside_each_other():
    good = evaluated((A, detections((1, 0.9, *LEFT), (2, 0.8, *RIGHT))))
    poor = evaluated((A, detections((1, 0.9, *LEFT))))
    compared = compare(good, poor)
    metrics = {row.name: row for row in compared.metrics()}
    row = metrics["coco/mAP"]
    assert rounded(row.first, row.second, row.difference) == (1.0, 0.5, -0.5)
    assert Row("F1", None, 0.5).difference is None
    classes = compared.classes()
    assert [(each.name, each.objects) for each in classes] == [("cat", 1), ("dog", 1)]
    assert [rounded(each.AP.second, each.F1.first) for each in classes] == [(1.0, 1.0), (0.0, 1.0)]
    assert "coco/mAP_large" not in metrics  # as nothing is so large


def test_pictures_with_most_that_only_one_detects_come_first():
    first = evaluated(
        (A, detections((1, 0.9, *LEFT), (2, 0.8, *RIGHT))),
        (B, detections((1, 0.9, *LEFT))),
        (C, detections()),
    )
    second = evaluated(
        (A, detections((2, 0.9, *LEFT))),  # the other class, so that neither has the other's
        (B, detections((1, 0.7, *LEFT))),
        (C, detections((1, 0.7, *LEFT))),
    )
    found = compare(first, second).disagreements
    assert [(each.place, each.only_first, each.only_second) for each in found] == [(0, 2, 1), (2, 0, 1)]
    assert [(error.missed, error.wrong) for error in found[0].errors] == [(0, 0), (2, 1)]


def test_detections_below_ones_own_best_threshold_are_no_disagreement():
    first = evaluated((A, detections((1, 0.9, *LEFT), (2, 0.8, *RIGHT))))
    second = evaluated((A, detections((1, 0.3, *LEFT), (2, 0.2, *RIGHT), (1, 0.1, *RIGHT))))
    assert compare(first, second).disagreements == []


def test_only_pictures_that_both_have_with_the_same_ground_truth_count():
    moved = named("a.jpg", ("cat", *LEFT), ("dog", 51, 0, 91, 40))
    first = evaluated((A, detections()), (B, detections((1, 0.9, *LEFT))))
    second = evaluated((B, detections()), (moved, detections()), (C, detections()))
    compared = compare(first, second)
    assert (compared.pictures, compared.shared, compared.is_of_all) == ((2, 3), 1, False)
    assert [rounded(row.first) for row in compared.metrics() if row.name == "coco/mAP"] == [(1.0,)]
    (found,) = compared.disagreements
    assert (found.place, found.places) == (0, (1, 0))


def test_without_a_common_picture_each_has_its_own_figures():
    compared = compare(evaluated((A, detections((1, 0.9, *LEFT)))), evaluated((B, detections((1, 0.9, *LEFT)))))
    assert (compared.shared, compared.disagreements) == (0, [])
    assert [rounded(row.first, row.second) for row in compared.metrics() if row.name == "coco/mAP"] == [(0.5, 1.0)]


def test_classes_are_the_same_by_name():
    dogs = LabelMap(("dog", "cat"))
    first = evaluated((A, detections((2, 0.9, *RIGHT))))
    compared = compare(first, evaluated((A, detections((1, 0.9, *RIGHT))), label_map=dogs))
    assert compared.disagreements == []
    assert [each.name for each in compared.classes()] == ["cat", "dog"]
    assert [rounded(each.AP.first, each.AP.second) for each in compared.classes()] == [(0.0, 0.0), (1.0, 1.0)]


def test_class_that_one_of_the_two_does_not_know():
    first = evaluated((B, detections((1, 0.9, *LEFT))), label_map=CAT)
    compared = compare(first, evaluated((B, detections((2, 0.9, *RIGHT)))))
    assert [each.name for each in compared.classes()] == ["cat", "dog"]
    # Nothing that the second has found is right, so that it has no best threshold; .5 stands in.
    assert [(each.only_first, each.only_second) for each in compared.disagreements] == [(1, 1)]


def test_an_evaluation_differs_in_nothing_from_itself():
    annotations, found, label_map = random_set(3)
    distinct = [dataclasses.replace(each, image=Path(f"{number}.jpg")) for number, each in enumerate(annotations)]
    # A box that ends before it begins overlaps nothing, not even itself.
    boxes = [np.hstack([each.boxes[:, :2], np.maximum(each.boxes[:, 2:], each.boxes[:, :2] + 1)]) for each in found]
    proper = [dataclasses.replace(each, boxes=of_each) for each, of_each in zip(found, boxes, strict=True)]
    one = Evaluated(distinct, proper, label_map)
    compared = compare(one, one)
    assert compared.is_of_all
    assert {row.difference for row in compared.metrics()} == {0.0}
    assert compared.disagreements == []


def test_no_pictures():
    with pytest.raises(ValueError, match="there are no pictures"):
        compare(Evaluated([], [], PETS), Evaluated([], [], PETS))


def test_settings_that_differ_are_told_with_both_values():
    first, second = {"seed": "1", "rate": "0.1", "old": "x"}, {"seed": "1", "rate": "0.2", "new": "y"}
    assert changes(first, second) == [("new", "", "y"), ("old", "x", ""), ("rate", "0.1", "0.2")]
