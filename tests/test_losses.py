"""Expected values from the TF Object Detection API's tests of its losses (core/losses_test)."""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from odml.losses import mine_hard_negatives, sigmoid_cross_entropy, smooth_l1

LN2 = math.log(2)


def test_smooth_l1_is_quadratic_below_one_and_linear_above():
    predictions = tf.constant(
        [
            [[2.5, 0, 0.4, 0], [0, 0, 0, 0], [0, 2.5, 0, 0.4]],
            [[3.5, 0, 0, 0], [0, 0.4, 0, 0.9], [0, 0, 1.5, 0]],
        ]
    )
    losses = smooth_l1(predictions, tf.zeros_like(predictions)).numpy()
    assert losses == pytest.approx(np.array([[2.08, 0, 2.08], [3.0, 0.485, 1.0]]))
    assert (losses * [[2, 1, 1], [0, 3, 0]]).sum() == pytest.approx(7.695)


def test_smooth_l1_is_even():
    assert smooth_l1(tf.constant([-3.0]), tf.constant([0.5])) == 3.0


def test_sigmoid_cross_entropy_sums_over_classes():
    logits = tf.constant(
        [
            [[-100, 100, -100], [100, -100, -100], [100, 0, -100], [-100, -100, 100]],
            [[-100, 0, 100], [-100, 100, -100], [100, 100, 100], [0, 0, -1]],
        ],
        tf.float32,
    )
    targets = tf.constant(
        [[[0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1]], [[0, 0, 1], [0, 1, 0], [1, 1, 1], [1, 0, 0]]], tf.float32
    )
    last = 2 * LN2 + math.log1p(math.exp(-1))
    losses = sigmoid_cross_entropy(logits, targets).numpy()
    assert losses == pytest.approx(np.array([[0, 0, LN2, 0], [LN2, 0, 0, last]]), abs=1e-6)


# The original's example without the boxes that its miner finds to be the same.
LOSSES = [0, 0, 100, 0, 90, 70, 0, 60, 0, 17, 13, 0]
OBJECTS = (2, 5)


def mined_loss(objects, *, negatives_per_positive, min_negatives):
    is_object = np.isin(np.arange(len(LOSSES)), objects)
    negatives = mine_hard_negatives(
        tf.constant([LOSSES], tf.float32),
        tf.constant(is_object[None]),
        negatives_per_positive=negatives_per_positive,
        min_negatives=min_negatives,
    ).numpy()[0]
    assert not np.any(negatives & is_object)
    return np.sum(LOSSES, where=negatives | is_object)


@pytest.mark.parametrize(("ratio", "loss"), [(0, 170), (0.5, 260), (1, 320), (1.5, 337), (10, 350)])
def test_worst_background_anchors_are_mined_by_the_number_of_objects(ratio, loss):
    assert mined_loss(OBJECTS, negatives_per_positive=ratio, min_negatives=0) == loss


@pytest.mark.parametrize(("floor", "loss"), [(0, 0), (1, 100), (2, 190), (4, 320), (5, 337), (6, 350)])
def test_image_without_objects_has_its_floor_of_negatives(floor, loss):
    assert mined_loss((), negatives_per_positive=3, min_negatives=floor) == loss


def test_anchors_with_equal_losses_are_not_all_mined():
    chosen = mine_hard_negatives(tf.ones([2, 5]), tf.zeros([2, 5], tf.bool), negatives_per_positive=3, min_negatives=2)
    assert tf.reduce_sum(tf.cast(chosen, tf.int32), axis=1).numpy().tolist() == [2, 2]


def test_each_image_is_mined_by_itself():
    chosen = mine_hard_negatives(
        tf.constant([[5.0, 4.0, 3.0, 2.0], [9.0, 8.0, 7.0, 6.0]]),
        tf.constant([[True, False, False, False], [False, True, True, False]]),
        negatives_per_positive=1,
        min_negatives=0,
    )
    assert chosen.numpy().tolist() == [[False, True, False, False], [True, False, False, True]]


def test_losses_of_a_batch_are_the_original_s(shared: Path):
    golden = np.load(shared / "golden" / "train_ssd-mobilenet-v2_3.npz")
    is_object = golden["target/match"] >= 0
    localization = smooth_l1(golden["pred/box_encodings"], golden["target/reg"]).numpy()
    classification = sigmoid_cross_entropy(golden["pred/class_predictions_with_background"], golden["target/cls"])
    negatives = mine_hard_negatives(
        classification, tf.constant(is_object), negatives_per_positive=3, min_negatives=3
    ).numpy()
    count = is_object.sum()
    assert count == 55
    assert localization.sum(where=is_object) / count == pytest.approx(
        golden["loss/Loss/localization_loss"][0], rel=1e-5
    )
    assert classification.numpy().sum(where=is_object | negatives) / count == pytest.approx(
        golden["loss/Loss/classification_loss"][0], rel=1e-5
    )
