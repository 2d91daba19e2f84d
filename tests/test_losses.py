"""Expected values from the TF Object Detection API's tests of its losses (core/losses_test)."""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from odml.losses import mine_hard_examples, sigmoid_cross_entropy, smooth_l1, softmax_cross_entropy
from odml.postprocessing import decode
from odml.targets import assign, match

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


def test_softmax_cross_entropy_is_of_all_classes_at_once():
    logits = tf.constant(
        [
            [[-100, 100, -100], [100, -100, -100], [0, 0, -100], [-100, -100, 100]],
            [[-100, 0, 0], [-100, 100, -100], [-100, 100, -100], [100, -100, -100]],
        ],
        tf.float32,
    )
    targets = tf.constant(
        [[[0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1]], [[0, 0, 1], [0, 1, 0], [0, 1, 0], [1, 0, 0]]], tf.float32
    )
    losses = softmax_cross_entropy(logits, targets).numpy()
    assert losses == pytest.approx(np.array([[0, 0, LN2, 0], [LN2, 0, 0, 0]]), abs=1e-6)
    assert (losses * [[1, 1, 0.5, 1], [1, 1, 1, 0]]).sum() == pytest.approx(1.5 * LN2)


def mine(losses, is_object, boxes, *, negatives_per_positive=0.0, min_negatives=0, iou_threshold=1.0):
    return mine_hard_examples(
        tf.constant(losses, tf.float32),
        tf.constant(is_object),
        tf.constant(boxes, tf.float32),
        negatives_per_positive=negatives_per_positive,
        min_negatives=min_negatives,
        iou_threshold=iou_threshold,
    ).numpy()


# HardExampleMinerTest: two images of four anchors.
LOCALIZATION = np.array([[100, 90, 80, 0], [0, 1, 2, 3]])
CLASSIFICATION = np.array([[0, 10, 50, 110], [9, 6, 3, 0]])
SAME = [[0.1, 0.1, 0.9, 0.9]] * 4
APART = [SAME[0], [0.9, 0.9, 0.99, 0.99], SAME[0], SAME[0]]


@pytest.mark.parametrize(
    ("ranked_by", "boxes", "count", "iou_threshold", "localization", "classification"),
    [
        (LOCALIZATION, SAME, 1, 0.0, [100, 3], [0, 0]),
        (LOCALIZATION + CLASSIFICATION, SAME, 1, 0.0, [80, 0], [50, 9]),
        (CLASSIFICATION, APART, 2, 0.5, [0 + 90, 0 + 1], [110 + 10, 9 + 6]),
    ],
    ids=["localization", "both", "classification"],
)
def test_worst_examples_are_mined_among_boxes_that_differ(
    ranked_by, boxes, count, iou_threshold, localization, classification
):
    chosen = mine(ranked_by, np.zeros([2, 4], bool), [boxes, boxes], min_negatives=count, iou_threshold=iou_threshold)
    assert np.sum(LOCALIZATION, axis=1, where=chosen).tolist() == localization
    assert np.sum(CLASSIFICATION, axis=1, where=chosen).tolist() == classification


# The same test's image for the ratio of background to objects: 0, 2, 5 and 11 are objects, and the boxes of 0, 1, 2,
# 3, 6, 8 and 11 are the same.
RATIO_LOCALIZATION = np.array([100, 90, 80, 0, 1, 2, 3, 10, 20, 100, 20, 3])
RATIO_CLASSIFICATION = np.array([0, 0, 100, 0, 90, 70, 0, 60, 0, 17, 13, 0])
RATIO_MATCHES = np.array([2, -1, 0, -1, -1, 1, -1, -1, -1, -1, -1, 3])
BOTTOMS = [0.2, 0.2, 0.2, 0.2, 0.5, 0.6, 0.2, 0.8, 0.2, 1.0, 1.1, 0.2]
RATIO_BOXES = [[0, 0, ymax, 0.1] for ymax in BOTTOMS]


def mined(is_object, **options):
    """Give the sums of both losses over the examples mined."""
    chosen = mine([RATIO_CLASSIFICATION], is_object[None], [RATIO_BOXES], **options)[0]
    return [int(np.sum(losses, where=chosen)) for losses in (RATIO_LOCALIZATION, RATIO_CLASSIFICATION)]


@pytest.mark.parametrize(
    ("ratio", "sums"), [(0, [82, 170]), (0.5, [83, 260]), (1, [93, 320]), (1.5, [193, 337]), (10, [213, 350])]
)
def test_background_is_mined_by_the_number_of_objects_that_remain(ratio, sums):
    assert mined(RATIO_MATCHES >= 0, negatives_per_positive=ratio, iou_threshold=0.9999) == sums


@pytest.mark.parametrize(
    ("floor", "sums"), [(0, [0, 0]), (1, [80, 100]), (2, [81, 190]), (4, [93, 320]), (5, [193, 337]), (6, [213, 350])]
)
def test_image_without_objects_has_its_floor_of_background(floor, sums):
    options = {"negatives_per_positive": 3, "min_negatives": floor, "iou_threshold": 0.9999}
    assert mined(np.zeros(12, bool), **options) == sums


def test_threshold_of_1_keeps_all_that_are_the_same():
    # All four objects; and of the background the worst four: 90, 60, 17, 13.
    assert mined(RATIO_MATCHES >= 0, negatives_per_positive=1) == [185 + 131, 170 + 180]


@pytest.mark.parametrize("in_graph", [False, True])
def test_anchors_with_equal_losses_are_not_all_mined(in_graph):
    call = tf.function(mine_hard_examples) if in_graph else mine_hard_examples
    options = {"negatives_per_positive": 3, "min_negatives": 2, "iou_threshold": 0.99}
    boxes = tf.constant([[[0, 0, 1, 0.1 * n] for n in range(1, 6)]] * 2)
    chosen = call(tf.ones([2, 5]), tf.zeros([2, 5], tf.bool), boxes, **options)
    assert tf.reduce_sum(tf.cast(chosen, tf.int32), axis=1).numpy().tolist() == [2, 2]


def test_each_image_is_mined_by_itself():
    chosen = mine(
        [[5, 4, 3, 2], [9, 8, 7, 6]],
        [[True, False, False, False], [False, True, True, False]],
        [SAME, SAME],
        negatives_per_positive=1,
    )
    assert chosen.tolist() == [[True, True, False, False], [True, True, True, True]]


def test_loss_of_a_network_that_answers_zero():
    # ssd_meta_arch_test: two images of four anchors, the object is the first; background and one class at ln 2 each.
    anchors = tf.constant([[0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1], [0.5, 0, 1, 0.5], [1, 1, 1.5, 1.5]])
    boxes, classes = tf.constant([[[0, 0, 0.5, 0.5]]] * 2), tf.constant([[1], [1]])
    target = assign(anchors, boxes, classes, match(anchors, boxes, classes > 0, threshold=0.5))
    assert tf.reduce_sum(smooth_l1(tf.zeros([2, 4, 4]), target["codes"])) == 0
    cross_entropies = sigmoid_cross_entropy(tf.zeros([2, 4, 2]), tf.one_hot(target["classes"], 2))
    assert float(tf.reduce_sum(cross_entropies)) == pytest.approx(11.0904, abs=1e-4)


@pytest.mark.parametrize("statistics", ["", "_frozenbn"])
def test_losses_of_a_batch_are_the_original_s(shared: Path, statistics: str):
    golden = np.load(shared / "golden" / f"train_ssd-mobilenet-v2_3{statistics}.npz")
    is_object = golden["target/match"] >= 0
    localization = smooth_l1(golden["pred/box_encodings"], golden["target/reg"]).numpy()
    classification = sigmoid_cross_entropy(golden["pred/class_predictions_with_background"], golden["target/cls"])
    boxes = decode(tf.constant(golden["pred/box_encodings"]), tf.constant(golden["pred/anchors"]))
    chosen = mine(classification, is_object, boxes, negatives_per_positive=3, min_negatives=3, iou_threshold=0.99)
    count = is_object.sum()
    assert count == 55
    assert localization.sum(where=chosen & is_object) / count == pytest.approx(
        golden["loss/Loss/localization_loss"][0], rel=1e-5
    )
    assert classification.numpy().sum(where=chosen) / count == pytest.approx(
        golden["loss/Loss/classification_loss"][0], rel=1e-5
    )
