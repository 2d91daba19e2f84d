"""Expected values from the TF Object Detection API's box coder and target assigner tests, or worked by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from odml.targets import assign, encode, match

# Strips of a picture: the IoU of two is that of their intervals.
STRIPS = tf.constant([[0, 0.0, 1, 0.2], [0, 0.2, 1, 0.4], [0, 0.4, 1, 0.6], [0, 0.6, 1, 0.8], [0, 0.8, 1, 1.0]])


def strip(left, right):
    return [0.0, left, 1.0, right]


def matches(*boxes, is_object=None, threshold=0.5):
    boxes = tf.reshape(tf.constant(boxes, tf.float32), [1, -1, 4])
    present = tf.ones(tf.shape(boxes)[:2], tf.bool) if is_object is None else tf.constant([is_object])
    return match(STRIPS, boxes, present, threshold=threshold).numpy()[0].tolist()


def test_anchor_takes_the_object_that_it_overlaps_most():
    # IoU with the first strip: .1 / .2 and .16 / .2.
    assert matches(strip(0.0, 0.1), strip(0.0, 0.16), threshold=0.3) == [0, -1, -1, -1, -1]
    assert matches(strip(0.0, 0.2), strip(0.0, 0.6), threshold=0.3) == [0, 1, 1, -1, -1]


@pytest.mark.parametrize(("threshold", "matched"), [(0.499, [0, 0]), (0.501, [0, -1])])
def test_anchors_match_from_the_threshold_on(threshold, matched):
    # IoU with each: .25 / .5. The first is the object's best and matches anyway.
    anchors = tf.constant([strip(0.0, 0.25), strip(0.25, 0.5)])
    found = match(anchors, tf.constant([[strip(0.0, 0.5)]]), tf.constant([[True]]), threshold=threshold)
    assert found.numpy().tolist() == [matched]


def test_object_below_the_threshold_takes_its_best_anchor():
    # IoU with strips 1 and 2: .05 / .3 and .05 / .2.
    assert matches(strip(0.35, 0.4)) == [-1, 0, -1, -1, -1]


def test_object_without_a_match_takes_an_anchor_from_another():
    # The first object overlaps strips 0 to 2 at .2 / .6; the second, small one has its best in strip 1.
    assert matches(strip(0.0, 0.6), strip(0.3, 0.32), threshold=0.3) == [0, 1, 0, -1, -1]


def test_first_of_two_objects_has_the_anchor_that_both_want():
    assert matches(strip(0.3, 0.32), strip(0.25, 0.35)) == [-1, 0, -1, -1, -1]


def test_padding_matches_nothing():
    assert matches(strip(0.0, 0.2), strip(0.4, 0.6), is_object=[False, True]) == [-1, -1, 1, -1, -1]
    assert matches([0.0, 0.0, 0.0, 0.0], is_object=[False]) == [-1] * 5


def test_image_without_objects_is_background():
    assert matches() == [-1] * 5


@pytest.mark.parametrize("in_graph", [False, True])
def test_images_of_a_batch_are_matched_apart(in_graph):
    boxes = tf.constant([[strip(0.4, 0.6), strip(0.0, 0.2)], [strip(0.8, 1.0), strip(0.0, 0.0)]])
    is_object = tf.constant([[True, True], [True, False]])
    call = tf.function(match, autograph=False) if in_graph else match
    assert call(STRIPS, boxes, is_object, threshold=0.5).numpy().tolist() == [[1, -1, 0, -1, -1], [-1, -1, -1, -1, 0]]


def test_boxes_are_coded_relative_to_anchors_in_tenths_and_fifths():
    anchors = tf.constant([[15, 12, 30, 18], [0.1, 0, 0.7, 0.9]])
    boxes = tf.constant([[10, 10, 20, 15], [0.2, 0.1, 0.5, 0.4]])
    plain = np.array([[-0.5, -0.416666, -0.405465, -0.182321], [-0.083333, -0.222222, -0.693147, -1.098612]])
    assert encode(boxes, anchors).numpy() == pytest.approx(plain * [10, 10, 5, 5], abs=1e-4)


def test_code_of_a_box_without_height_is_finite():
    code = encode(tf.constant([[10.0, 10, 10, 20]]), tf.constant([[15.0, 12, 30, 18]])).numpy()[0]
    assert code[[0, 1, 3]] == pytest.approx([-8.33333, 0, 2.55413], abs=1e-4)
    assert -100 < code[2] < -50


# The original's assigner has these; its box coder there is a simple one, so codes are worked by hand.
ANCHORS = tf.constant([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 0.8], [0, 0.5, 0.5, 1], [0.75, 0, 1, 0.25]])
BOXES = tf.constant([[[0, 0, 0.5, 0.5], [0.5, 0.5, 0.9, 0.9], [0.75, 0, 0.95, 0.27]]])
CLASSES = tf.constant([[1, 5, 3]])


def test_classes_are_one_hot_with_background_first():
    target = assign(ANCHORS, BOXES, CLASSES, num_classes=6, threshold=0.5)
    assert target["classes"].numpy().argmax(axis=-1).tolist() == [[1, 5, 0, 3]]
    assert target["classes"].numpy().sum(axis=-1).tolist() == [[1, 1, 1, 1]]
    assert target["classes"].shape == (1, 4, 7)
    assert target["is_object"].numpy().tolist() == [[True, True, False, True]]


def test_codes_are_those_of_the_matched_objects_and_zero_for_background():
    target = assign(ANCHORS, BOXES, CLASSES, num_classes=6, threshold=0.5)
    expected = [
        [0, 0, 0, 0],
        [10 * (0.7 - 0.75) / 0.5, 10 * (0.7 - 0.65) / 0.3, 5 * math.log(0.4 / 0.5), 5 * math.log(0.4 / 0.3)],
        [0, 0, 0, 0],
        [10 * (0.85 - 0.875) / 0.25, 10 * (0.135 - 0.125) / 0.25, 5 * math.log(0.8), 5 * math.log(0.27 / 0.25)],
    ]
    assert target["codes"].numpy()[0] == pytest.approx(np.array(expected), abs=1e-5)


def test_padded_ground_truth_changes_nothing():
    padded = assign(
        ANCHORS,
        tf.pad(BOXES, [[0, 0], [0, 2], [0, 0]]),
        tf.pad(CLASSES, [[0, 0], [0, 2]]),
        num_classes=6,
        threshold=0.5,
    )
    target = assign(ANCHORS, BOXES, CLASSES, num_classes=6, threshold=0.5)
    for name, value in target.items():
        assert np.array_equal(padded[name], value), name


@pytest.mark.parametrize("padding", [0, 2])
def test_targets_of_an_image_without_objects_are_background_and_finite(padding):
    target = assign(ANCHORS, tf.zeros([1, padding, 4]), tf.zeros([1, padding], tf.int32), num_classes=2, threshold=0.5)
    assert target["classes"].numpy().tolist() == [[[1, 0, 0]] * 4]
    assert target["codes"].numpy().tolist() == [[[0, 0, 0, 0]] * 4]
    assert not target["is_object"].numpy().any()


def test_batch_of_two_images():
    anchors = tf.constant([[0, 0, 0.25, 0.25], [0, 0.25, 1, 1], [0, 0.1, 0.5, 0.5], [0.75, 0.75, 1, 1]])
    boxes = tf.constant(
        [[[0, 0, 0.2, 0.2], [0, 0, 0, 0]], [[0, 0.25123152, 1, 1], [0.015789, 0.0985, 0.55789, 0.3842]]]
    )
    target = assign(anchors, boxes, tf.constant([[1, 0], [1, 2]]), num_classes=2, threshold=0.5)
    assert target["classes"].numpy().argmax(axis=-1).tolist() == [[1, 0, 0, 0], [0, 1, 2, 0]]


def test_targets_are_the_original_s(shared: Path):
    golden = np.load(shared / "golden" / "train_ssd-mobilenet-v2_3.npz")
    boxes = tf.constant(
        [
            [[0.1, 0.1, 0.5, 0.45], [0.4, 0.5, 0.9, 0.95], [0, 0, 0, 0]],
            [[0.2, 0.3, 0.35, 0.4], [0.05, 0.6, 0.6, 0.98], [0.5, 0.05, 0.95, 0.4]],
        ]
    )
    target = assign(
        tf.constant(golden["pred/anchors"]), boxes, tf.constant([[1, 3, 0], [2, 2, 1]]), num_classes=3, threshold=0.5
    )
    assert np.array_equal(target["is_object"], golden["target/match"] >= 0)
    assert np.array_equal(target["is_object"], golden["target/reg_weights"])
    assert np.array_equal(target["classes"], golden["target/cls"])
    assert np.abs(target["codes"] - golden["target/reg"]).max() < 1e-4
