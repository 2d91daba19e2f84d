import random

import pytest

from odml.splitting import stratified_split


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


@pytest.mark.parametrize("val_split", [-1, 101, float("nan")])
def test_a_share_that_is_no_percentage_is_a_wrong_call(val_split: float):
    with pytest.raises(ValueError, match=r"^val_split must be from 0 to 100 percent, not "):
        stratified_split({}, val_split=val_split, seed=0)
