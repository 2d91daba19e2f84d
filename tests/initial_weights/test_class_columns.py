"""Class columns, worked by hand: 1 is the source's, 0 is fresh, or the numbers say what they are."""

import numpy as np
import pytest

from odml.initial_weights import coco
from odml.initial_weights.class_columns import (
    Classes,
    carry_over,
    count_classes,
    has_class_columns,
    match_classes,
)
from odml.structures import LabelMap

SSD = "BoxPredictor_0/ClassPredictor/biases"
CLASSES = "SecondStageBoxPredictor/ClassPredictor"
BOXES = "SecondStageBoxPredictor/BoxEncodingPredictor"
# The source has cat, dog, cow; we have dog and fox.
DOG_AND_FOX = match_classes(LabelMap(("dog", "fox")), ("cat", "dog", "cow"), 3)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_columns_of_ssd_go_anchor_by_anchor_with_background_first():
    source = floats(10, 11, 12, 13, 20, 21, 22, 23)  # two anchors: background, cat, dog, cow
    fresh = floats(-1, -2, -3, -4, -5, -6)  # two anchors: background, dog, fox
    assert carry_over(SSD, fresh, source, DOG_AND_FOX).tolist() == [10, 12, -3, 20, 22, -6]


def test_columns_of_a_kernel_are_its_last_axis():
    source = np.arange(3 * 3 * 2 * 8, dtype=np.float32).reshape(3, 3, 2, 8)
    fresh = -np.ones((3, 3, 2, 6), np.float32)
    new = carry_over("BoxPredictor_0/ClassPredictor/weights", fresh, source, DOG_AND_FOX)
    assert new.shape == (3, 3, 2, 6)
    np.testing.assert_array_equal(new[..., [0, 1, 3, 4]], source[..., [0, 2, 4, 6]])
    assert (new[..., [2, 5]] == -1).all()
    assert (fresh == -1).all()


def test_columns_of_faster_rcnn_begin_with_background():
    new = carry_over(f"{CLASSES}/biases", floats(-1, -2, -3), floats(10, 11, 12, 13), DOG_AND_FOX)
    assert new.tolist() == [10, 12, -3]


def test_box_columns_of_a_class_that_the_source_lacks_are_the_mean():
    source = floats(1, 2, 3, 4, 10, 20, 30, 40, 4, 5, 6, 7)  # cat, dog, cow: four codes each, no background
    new = carry_over(f"{BOXES}/biases", np.zeros(8, np.float32), source, DOG_AND_FOX)
    assert new.tolist() == [10, 20, 30, 40, 5, 9, 13, 17]


def test_box_columns_of_a_matrix():
    source = floats(*range(24)).reshape(2, 12)
    new = carry_over(f"{BOXES}/weights", np.zeros((2, 8), np.float32), source, DOG_AND_FOX)
    assert new.tolist() == [[4, 5, 6, 7, 4, 5, 6, 7], [16, 17, 18, 19, 16, 17, 18, 19]]
    assert new.dtype == np.float32


def test_mean_leaves_out_what_coco_never_showed():
    codes = np.zeros((90, 4), np.float32)
    codes[:] = 1.0
    codes[[11, 25, 28, 29, 44, 65, 67, 68, 70, 82]] = 1000.0  # 12, 26, 29, 30, 45, 66, 68, 69, 71, 83
    classes = match_classes(LabelMap(("fox",)), None, 90)
    assert carry_over(f"{BOXES}/biases", np.zeros(4, np.float32), codes.ravel(), classes).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "fresh", "source"),
    [
        (SSD, (6,), (12,)),  # another number of anchors
        (SSD, (6,), (7,)),
        ("BoxPredictor_0/ClassPredictor/weights", (1, 1, 2, 6), (3, 3, 2, 8)),
        (f"{BOXES}/weights", (4, 8), (2, 12)),
        (f"{BOXES}/weights", (2, 8), (2, 13)),
    ],
)
def test_head_of_another_shape_gives_nothing(name, fresh, source):
    assert carry_over(name, np.zeros(fresh, np.float32), np.zeros(source, np.float32), DOG_AND_FOX) is None


def test_names_match_in_upper_and_lower_case():
    classes = match_classes(LabelMap(("Traffic Light", "person", "trafficlight")), ("person", "traffic light"), 2)
    assert classes.sources == (1, 0, None)
    assert (classes.carried, classes.fresh) == (("Traffic Light", "person"), ("trafficlight",))
    assert classes.assumption == ""


def test_of_names_that_differ_in_case_the_same_one_is_taken():
    assert match_classes(LabelMap(("Cat", "cat")), ("CAT", "cat", "Cat"), 3).sources == (2, 1)


def test_90_classes_without_names_are_coco_s():
    classes = match_classes(LabelMap(("toothbrush", "person", "unicorn")), None, 90)
    assert classes.sources == (89, 0, None)
    assert classes.assumption == "its 90 classes are taken for COCO's"


def test_names_that_are_not_as_many_as_the_classes_are_not_the_source_s():
    assert match_classes(LabelMap(("person", "fox")), ("fox", "hen"), 90).sources == (0, None)


def test_classes_without_names_that_are_as_many_as_ours_are_ours():
    assert match_classes(LabelMap(("cat", "dog")), None, 2) == Classes(
        ("cat", "dog"),
        (0, 1),
        2,
        (0, 1),
        "its classes have no names; they are taken for the same classes in the same order",
    )


def test_other_classes_without_names_are_not_ours():
    classes = match_classes(LabelMap(("cat", "dog")), None, 3)
    assert classes.fresh == ("cat", "dog")
    assert classes.assumption == ("its 3 classes have no names; lay its labels.pbtxt beside it to carry them over")


def test_coco_s_ids():
    assert len(coco.LABEL_MAP) == 90
    assert len(coco.UNUSED) == 10
    ids = {"person": 1, "stop sign": 13, "backpack": 27, "wine glass": 46, "dining table": 67, "tv": 72, "book": 84}
    assert {name: coco.LABEL_MAP.id_of(name) for name in ids} == ids
    assert coco.LABEL_MAP.name_of(90) == "toothbrush"
    assert coco.LABEL_MAP.name_of(12) in coco.UNUSED


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({"BoxPredictor_0/ClassPredictor/biases": (273,), "BoxPredictor_0/BoxEncodingPredictor/biases": (12,)}, 90),
        ({f"{CLASSES}/biases": (4,), f"{BOXES}/biases": (12,)}, 3),
        ({"FirstStageBoxPredictor/ClassPredictor/biases": (24,)}, None),
        ({"BoxPredictor_0/ClassPredictor/biases": (273,)}, None),
        ({}, None),
    ],
)
def test_number_of_classes(values, count):
    assert count_classes({name: np.zeros(shape) for name, shape in values.items()}) == count


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BoxPredictor_5/ClassPredictor/weights", True),
        ("BoxPredictor_5/BoxEncodingPredictor/weights", False),
        ("SecondStageBoxPredictor/BoxEncodingPredictor/biases", True),
        ("FirstStageBoxPredictor/ClassPredictor/biases", False),
        ("Conv/weights", False),
    ],
)
def test_which_variables_have_class_columns(name, expected):
    assert has_class_columns(name) == expected
