import random
from collections import Counter

import pytest

from odml.errors import ConfigurationError
from odml.splitting import compile_group_by, group_of, group_pictures, stratified_split


def count(split: dict[str, str]) -> dict[str, int]:
    return {side: list(split.values()).count(side) for side in ("train", "val")}


def of_class(split: dict[str, str], classes: dict[str, list[str]], name: str) -> dict[str, int]:
    return count({image: side for image, side in split.items() if name in classes[image]})


def test_each_class_has_its_share_on_both_sides():
    classes = {
        f"{name}{number}": [name] for name, images in (("a", 60), ("b", 30), ("c", 10)) for number in range(images)
    }
    split = stratified_split(classes, val_split=30, seed=0)
    assert of_class(split, classes, "a") == {"train": 42, "val": 18}
    assert of_class(split, classes, "b") == {"train": 21, "val": 9}
    assert of_class(split, classes, "c") == {"train": 7, "val": 3}


def test_rare_classes_of_pictures_with_several_are_shared_out_first():
    classes = {str(number): ["common"] for number in range(96)} | {
        f"r{number}": ["common", "rare"] for number in range(4)
    }
    split = stratified_split(classes, val_split=25, seed=3)
    assert of_class(split, classes, "rare") == {"train": 3, "val": 1}
    assert count(split) == {"train": 75, "val": 25}


def test_background_pictures_are_a_class_of_their_own():
    classes = {f"a{number}": ["a"] for number in range(8)} | {f"b{number}": [] for number in range(4)}
    split = stratified_split(classes, val_split=25, seed=0)
    assert count({image: side for image, side in split.items() if image[0] == "b"}) == {"train": 3, "val": 1}


def test_a_class_with_one_picture_is_trained_on():
    split = stratified_split({"a": ["cat"], "b": ["dog"], "c": ["dog"], "d": ["dog"]}, val_split=30, seed=0)
    assert split["a"] == "train"


@pytest.mark.parametrize(
    ("images", "val_split", "expected"),
    [
        (0, 30, {"train": 0, "val": 0}),
        (1, 30, {"train": 1, "val": 0}),
        (2, 1, {"train": 1, "val": 1}),
        (2, 99, {"train": 1, "val": 1}),
        (8, 0, {"train": 8, "val": 0}),
        (8, 100, {"train": 0, "val": 8}),
        (8, 30, {"train": 6, "val": 2}),
        (200, 30, {"train": 140, "val": 60}),
    ],
)
def test_sides_have_the_wanted_sizes(images: int, val_split: float, expected: dict[str, int]):
    split = stratified_split({str(number): ["a"] for number in range(images)}, val_split=val_split, seed=7)
    assert count(split) == expected


def test_the_order_of_pictures_and_classes_does_not_matter():
    classes = {str(number): random.Random(number).sample(["a", "b", "c"], number % 4) for number in range(50)}
    turned = {image: classes[image][::-1] for image in reversed(classes)}
    assert stratified_split(classes, val_split=30, seed=1) == stratified_split(turned, val_split=30, seed=1)


def test_another_seed_gives_another_split():
    classes = {str(number): ["a"] for number in range(50)}
    assert stratified_split(classes, val_split=30, seed=1) != stratified_split(classes, val_split=30, seed=2)


@pytest.mark.parametrize(("val_split", "test_split"), [(-1, 0), (101, 0), (float("nan"), 0), (60, 41), (30, -5)])
def test_a_share_that_is_no_percentage_is_a_wrong_call(val_split: float, test_split: float):
    with pytest.raises(ValueError, match=r"^val_split and test_split must be 0 to 100 percent together, not "):
        stratified_split({}, val_split=val_split, test_split=test_split, seed=0)


@pytest.mark.parametrize(
    ("images", "val_split", "test_split", "expected"),
    [
        (10, 30, 20, {"train": 5, "val": 3, "test": 2}),
        (100, 30, 0, {"train": 70, "val": 30}),
        (3, 1, 1, {"train": 1, "val": 1, "test": 1}),
        (3, 98, 1, {"train": 1, "val": 1, "test": 1}),
        (3, 50, 50, {"val": 2, "test": 1}),
        (2, 30, 30, {"train": 1, "val": 1}),
    ],
)
def test_a_test_has_its_share_too(images: int, val_split: float, test_split: float, expected: dict[str, int]):
    classes = {str(number): ["a"] for number in range(images)}
    split = stratified_split(classes, val_split=val_split, test_split=test_split, seed=2)
    assert Counter(split.values()) == expected


def grouped(sizes: list[int], *, val_split: float, test_split: float = 0) -> Counter[str]:
    """Split groups of such sizes, check that none is parted, and count the sides."""
    groups = [[f"{group}-{number}" for number in range(size)] for group, size in enumerate(sizes)]
    classes = {image: ["a"] for group in groups for image in group}
    split = stratified_split(classes, val_split=val_split, test_split=test_split, seed=5, groups=groups)
    assert sorted(split) == sorted(classes)
    for group in groups:
        assert len({split[image] for image in group}) == 1
    return Counter(split.values())


@pytest.mark.parametrize(
    ("sizes", "val_split", "expected"),
    [
        ([3] * 30, 30, {"train": 63, "val": 27}),
        ([10, 10, 10], 30, {"train": 20, "val": 10}),
        ([5, 5], 30, {"train": 5, "val": 5}),
        ([99, 1], 30, {"train": 99, "val": 1}),
        ([10] * 10, 4, {"train": 90, "val": 10}),
        ([20, 5, 5, 5, 3, 2], 30, {"train": 28, "val": 12}),
        ([7, 3], 0, {"train": 10}),
        ([7], 30, {"train": 7}),
    ],
)
def test_groups_stay_together_and_the_sizes_are_as_near_as_they_allow(
    sizes: list[int], val_split: float, expected: dict[str, int]
):
    assert grouped(sizes, val_split=val_split) == expected


def test_groups_fill_three_sides():
    assert grouped([4] * 10, val_split=20, test_split=10) == {"train": 28, "val": 8, "test": 4}


def test_groups_are_stratified():
    groups = [[f"{name}{group}-{number}" for number in range(2)] for name in "ab" for group in range(10)]
    classes = {image: [image[0]] for group in groups for image in group}
    split = stratified_split(classes, val_split=30, seed=0, groups=groups)
    assert of_class(split, classes, "a") == of_class(split, classes, "b") == {"train": 14, "val": 6}


def test_pictures_that_share_a_key_are_a_group_even_by_way_of_a_third():
    keys = {"a": [1], "b": [1, 2], "c": [2], "d": [3], "e": [], "f": [4, 3]}
    assert group_pictures(keys, keys.__getitem__) == [["a", "b", "c"], ["d", "f"]]


@pytest.mark.parametrize(
    ("pattern", "image", "expected"),
    [
        (r"^(vid\d+)_", "in/vid7_001.jpg", "vid7"),
        (r"vid\d+", "in/vid7_001.jpg", "vid7"),
        (r"(a)|(b)", "b.jpg", "b"),
        (r"^(.+)/", "in/deep/vid7_001.jpg", "in/deep"),
        (r"^x", "in/vid7_001.jpg", None),
    ],
)
def test_the_group_is_what_the_pattern_finds_in_the_name_or_else_the_path(
    pattern: str, image: str, expected: str | None
):
    assert group_of(image, compile_group_by(pattern)) == expected


def test_a_bad_regular_expression_is_an_error():
    with pytest.raises(ConfigurationError) as error:
        compile_group_by("(a")
    assert str(error.value) == (
        "group_by: '(a' is no regular expression (missing ), unterminated subpattern at position 0); "
        "an example is '^(video[0-9]+)_'"
    )
