"""Expected values from the TF Object Detection API's tests, or worked by hand.

They are its tests of box lists, the matcher, the box coder, the target assigner and the sampler.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from odml.targets import BACKGROUND, IGNORED, assign, encode, iou, match, match_by_similarity, sample

FEW = tf.constant([[4.0, 3, 7, 5], [5, 6, 10, 7]])
MORE = tf.constant([[3.0, 4, 6, 8], [14, 14, 15, 15], [0, 0, 20, 20]])


@pytest.mark.parametrize(
    ("boxes", "others", "expected"),
    [
        (FEW, MORE, [[2 / 16, 0, 6 / 400], [1 / 16, 0, 5 / 400]]),
        (FEW, MORE[:0], np.zeros([2, 0])),
        (FEW[:0], MORE, np.zeros([0, 3])),
        (FEW[:0], MORE[:0], np.zeros([0, 0])),
        (tf.zeros([1, 4]), tf.zeros([1, 4]), [[0]]),
    ],
    ids=["two by three", "two by none", "none by three", "none by none", "without area"],
)
def test_iou_is_of_each_with_each(boxes, others, expected):
    expected = np.asarray(expected)
    assert iou(boxes, others).numpy() == pytest.approx(expected)
    assert iou(boxes[None], tf.stack([others, others])).numpy() == pytest.approx(np.stack([expected, expected]))


S1 = [[1, 1, 1, 3, 1], [2, -1, 2, 0, 4], [3, 0, -1, 0, 0]]
S2 = [[1, 1, 1, 3, 1], [-1, 0, -2, -2, -1], [3, 0, -1, 2, 0]]
ZEROS = [0] * 5
NO_THRESHOLD = -100


@pytest.mark.parametrize(
    ("similarity", "present", "thresholds", "force", "expected"),
    [
        (S1, [1, 1, 1], (NO_THRESHOLD, None), False, [2, 0, 1, 0, 1]),
        (S1, [1, 1, 1], (3, None), False, [2, -1, -1, 0, 1]),
        (S1, [1, 1, 1], (3, 2), False, [2, -1, -2, 0, 1]),
        (S2, [1, 1, 1], (3, 2), False, [2, -1, -1, 0, -1]),
        (S2, [1, 1, 1], (3, 2), True, [2, 1, -1, 0, -1]),
        ([*S2[:2], ZEROS, S2[2], ZEROS], [1, 1, 0, 1, 0], (3, 2), True, [3, 1, -1, 0, -1]),
        (np.zeros([0, 5]), [], (NO_THRESHOLD, None), False, [-1] * 5),
        (np.zeros([0, 5]), [], (3, 2), True, [-1] * 5),
    ],
    ids=["no threshold", "3", "3 / 2", "3 / 2, S2", "forced", "forced, padded", "no rows", "no rows, forced"],
)
def test_matching_by_similarity(similarity, present, thresholds, force, expected):
    matched, unmatched = thresholds
    similarity, possible = np.float32(similarity)[None], np.reshape(np.array(present, bool), [1, -1, 1])
    found = match_by_similarity(
        tf.constant(similarity), possible, threshold=matched, unmatched_threshold=unmatched, force=force
    )
    assert found.dtype == tf.int32
    assert found.numpy().tolist() == [expected]


def test_unmatched_threshold_above_the_threshold_is_refused():
    with pytest.raises(ValueError, match=r"^unmatched_threshold 0\.7 is above threshold 0\.5$"):
        match(STRIPS, tf.zeros([1, 0, 4]), tf.zeros([1, 0], tf.bool), threshold=0.5, unmatched_threshold=0.7)


# Strips of a picture: the IoU of two is that of their intervals.
STRIPS = tf.constant([[0, 0.0, 1, 0.2], [0, 0.2, 1, 0.4], [0, 0.4, 1, 0.6], [0, 0.6, 1, 0.8], [0, 0.8, 1, 1.0]])


def strip(left, right):
    return [0.0, left, 1.0, right]


def matches(*boxes, is_object=None, threshold=0.5, **options):
    boxes = tf.reshape(tf.constant(boxes, tf.float32), [1, -1, 4])
    present = tf.ones(tf.shape(boxes)[:2], tf.bool) if is_object is None else tf.constant([is_object])
    return match(STRIPS, boxes, present, threshold=threshold, **options).numpy()[0].tolist()


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


def test_object_below_the_threshold_has_no_anchor_without_force():
    assert matches(strip(0.35, 0.4), force=False) == [-1] * 5


def test_anchors_between_the_thresholds_are_ignored():
    # IoU with the strips: .2 / .5 twice, .1 / .6.
    thresholds = {"threshold": 0.5, "unmatched_threshold": 0.3}
    assert matches(strip(0.0, 0.5), force=False, **thresholds) == [IGNORED, IGNORED, *[BACKGROUND] * 3]
    assert matches(strip(0.0, 0.5), **thresholds) == [0, IGNORED, *[BACKGROUND] * 3]


def test_small_boxes_match_as_large_ones():
    # Half of a square of a hundredth of the picture's side.
    anchors = tf.constant([[0.5, 0.5, 0.51, 0.51], [0, 0, 1, 1]])
    found = match(
        anchors, tf.constant([[[0.5, 0.5, 0.51, 0.50502]]]), tf.constant([[True]]), threshold=0.5, force=False
    )
    assert found.numpy().tolist() == [[0, -1]]


def test_anchors_that_are_not_usable_are_ignored_and_their_objects_go_to_the_next():
    usable = tf.constant([[True, False, True, True, False]])
    # The first object's best are strips 0 and 1, the second has none but strip 1, which it may not have.
    assert matches(strip(0.0, 0.4), strip(0.2, 0.4), usable=usable) == [0, IGNORED, BACKGROUND, BACKGROUND, IGNORED]
    nothing = tf.zeros([1, 5], tf.bool)
    assert matches(strip(0.0, 0.2), usable=nothing) == [IGNORED] * 5
    assert matches(usable=usable) == [BACKGROUND, IGNORED, BACKGROUND, BACKGROUND, IGNORED]


def test_padding_matches_nothing():
    assert matches(strip(0.0, 0.2), strip(0.4, 0.6), is_object=[False, True]) == [-1, -1, 1, -1, -1]
    assert matches([0.0, 0.0, 0.0, 0.0], is_object=[False]) == [-1] * 5


def test_image_without_objects_is_background():
    assert matches() == [-1] * 5


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize(
    ("anchors", "second"),
    [(STRIPS, [-1, -1, -1, -1, 0]), (tf.stack([STRIPS, STRIPS[::-1]]), [0, -1, -1, -1, -1])],
    ids=["shared anchors", "anchors of each image"],
)
def test_images_of_a_batch_are_matched_apart(anchors, second, in_graph):
    boxes = tf.constant([[strip(0.4, 0.6), strip(0.0, 0.2)], [strip(0.8, 1.0), strip(0.0, 0.0)]])
    is_object = tf.constant([[True, True], [True, False]])
    call = tf.function(match, autograph=False) if in_graph else match
    assert call(anchors, boxes, is_object, threshold=0.5).numpy().tolist() == [[1, -1, 0, -1, -1], second]


def test_boxes_are_coded_relative_to_anchors_in_tenths_and_fifths():
    anchors = tf.constant([[15, 12, 30, 18], [0.1, 0, 0.7, 0.9]])
    boxes = tf.constant([[10, 10, 20, 15], [0.2, 0.1, 0.5, 0.4]])
    plain = np.array([[-0.5, -0.416666, -0.405465, -0.182321], [-0.083333, -0.222222, -0.693147, -1.098612]])
    assert encode(boxes, anchors).numpy() == pytest.approx(plain * [10, 10, 5, 5], abs=1e-4)


def test_code_of_a_box_without_height_is_finite():
    code = encode(tf.constant([[10.0, 10, 10.0000001, 20]]), tf.constant([[15.0, 12, 30, 18]])).numpy()
    assert code == pytest.approx(np.array([[-0.833333, 0, -21.128731, 0.510826]]) * [10, 10, 5, 5], abs=1e-3)
    assert np.isfinite(encode(tf.zeros([1, 4]), tf.zeros([1, 4]))).all()


def plain_code(box, anchor):
    """Work out a code as the original's docstring has it."""
    ymin, xmin, ymax, xmax = box
    top, left, bottom, right = anchor
    height, width = bottom - top, right - left
    return [
        10 * ((ymin + ymax) / 2 - (top + bottom) / 2) / height,
        10 * ((xmin + xmax) / 2 - (left + right) / 2) / width,
        5 * math.log((ymax - ymin) / height),
        5 * math.log((xmax - xmin) / width),
    ]


def assigned(anchors, boxes, classes, **options):
    """Match and assign as the original's tests do: from IoU .5, without force."""
    options = {"threshold": 0.5, "force": False} | options
    return assign(anchors, boxes, classes, match(anchors, boxes, classes > 0, **options))


# The original's assigner has these; its box coder there is a simple one, so codes are worked by hand.
ANCHORS = tf.constant([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 0.8], [0, 0.5, 0.5, 1], [0.75, 0, 1, 0.25]])
BOXES = tf.constant([[[0, 0, 0.5, 0.5], [0.5, 0.5, 0.9, 0.9], [0.75, 0, 0.95, 0.27]]])
CLASSES = tf.constant([[1, 5, 3]])
NONE = [0.0] * 4


def test_anchors_have_the_classes_and_codes_of_their_objects():
    target = assigned(ANCHORS, BOXES, CLASSES)
    assert target["classes"].dtype == tf.int32
    assert target["classes"].numpy().tolist() == [[1, 5, 0, 3]]
    assert target["is_object"].numpy().tolist() == [[True, True, False, True]]
    expected = [
        NONE,
        [10 * (0.7 - 0.75) / 0.5, 10 * (0.7 - 0.65) / 0.3, 5 * math.log(0.4 / 0.5), 5 * math.log(0.4 / 0.3)],
        NONE,
        [10 * (0.85 - 0.875) / 0.25, 10 * (0.135 - 0.125) / 0.25, 5 * math.log(0.8), 5 * math.log(0.27 / 0.25)],
    ]
    assert target["codes"].numpy()[0] == pytest.approx(np.array(expected), abs=1e-5)


def test_ignored_anchors_have_no_class_and_no_code():
    anchors = tf.concat([ANCHORS[:2], [[0, 0.5, 0.9, 1]]], axis=0)
    matched = match(
        anchors, BOXES[:, :2], tf.constant([[True, True]]), threshold=0.5, unmatched_threshold=0.3, force=False
    )
    assert matched.numpy().tolist() == [[0, 1, IGNORED]]
    target = assign(anchors, BOXES[:, :2], CLASSES[:, :2], matched)
    assert target["classes"].numpy().tolist() == [[1, 5, 0]]
    assert target["is_object"].numpy().tolist() == [[True, True, False]]
    assert target["codes"].numpy()[0, 2].tolist() == NONE


def test_matches_are_looked_up_in_the_ground_truth():
    # core/matcher_test: 100 for unmatched, 200 for ignored there, 0 for both here.
    matched = tf.constant([[3, 1, BACKGROUND, 0, BACKGROUND, 5, IGNORED]])
    boxes = tf.tile(tf.constant([[[0, 0, 0.5, 0.5]]]), [1, 8, 1])
    target = assign(tf.tile(ANCHORS[:1], [7, 1]), boxes, tf.range(10, 18)[None], matched)
    assert target["classes"].numpy().tolist() == [[13, 11, 0, 10, 0, 15, 0]]
    assert target["is_object"].numpy().tolist() == [[True, True, False, True, False, True, False]]


def test_padded_ground_truth_changes_nothing():
    padded = assigned(ANCHORS, tf.pad(BOXES, [[0, 0], [0, 2], [0, 0]]), tf.pad(CLASSES, [[0, 0], [0, 2]]), force=True)
    target = assigned(ANCHORS, BOXES, CLASSES, force=True)
    for name, value in target.items():
        assert np.array_equal(padded[name], value), name


@pytest.mark.parametrize("padding", [0, 2])
def test_targets_of_an_image_without_objects_are_background_and_finite(padding):
    target = assigned(ANCHORS, tf.zeros([1, padding, 4]), tf.zeros([1, padding], tf.int32), force=True)
    assert target["classes"].numpy().tolist() == [[0] * 4]
    assert target["codes"].numpy().tolist() == [[NONE] * 4]
    assert not target["is_object"].numpy().any()


@pytest.mark.parametrize("apart", [False, True], ids=["shared anchors", "anchors of each image"])
def test_batch_of_two_images(apart):
    anchors = tf.constant([[0, 0, 0.25, 0.25], [0, 0.25, 1, 1], [0, 0.1, 0.5, 0.5], [0.75, 0.75, 1, 1]])
    boxes = tf.constant([[[0, 0, 0.2, 0.2], NONE], [[0, 0.25123152, 1, 1], [0.015789, 0.0985, 0.55789, 0.3842]]])
    target = assigned(tf.stack([anchors, anchors]) if apart else anchors, boxes, tf.constant([[1, 0], [1, 2]]))
    assert target["classes"].numpy().tolist() == [[1, 0, 0, 0], [0, 1, 2, 0]]
    assert target["is_object"].numpy().tolist() == [[True, False, False, False], [False, True, True, False]]
    expected = [
        [plain_code(boxes[0, 0], anchors[0]), NONE, NONE, NONE],
        [NONE, plain_code(boxes[1, 0], anchors[1]), plain_code(boxes[1, 1], anchors[2]), NONE],
    ]
    assert target["codes"].numpy() == pytest.approx(np.array(expected), abs=1e-5)


@pytest.mark.parametrize("statistics", ["", "_frozenbn"])
def test_targets_are_the_original_s(shared: Path, statistics: str):
    golden = np.load(shared / "golden" / f"train_ssd-mobilenet-v2_3{statistics}.npz")
    boxes = tf.constant(
        [
            [[0.1, 0.1, 0.5, 0.45], [0.4, 0.5, 0.9, 0.95], NONE],
            [[0.2, 0.3, 0.35, 0.4], [0.05, 0.6, 0.6, 0.98], [0.5, 0.05, 0.95, 0.4]],
        ]
    )
    classes, anchors = tf.constant([[1, 3, 0], [2, 2, 1]]), tf.constant(golden["pred/anchors"])
    matched = match(anchors, boxes, classes > 0, threshold=0.5)
    assert np.array_equal(matched, golden["target/match"])
    target = assign(anchors, boxes, classes, matched)
    assert np.array_equal(target["is_object"], golden["target/reg_weights"])
    assert np.array_equal(tf.one_hot(target["classes"], 4), golden["target/cls"])
    assert np.abs(target["codes"] - golden["target/reg"]).max() < 1e-5


def within(count, first, last):
    numbers = np.arange(count)
    return (numbers >= first) & (numbers <= last)


@pytest.mark.parametrize(
    ("is_object", "is_candidate", "options", "counts"),
    [
        (within(300, 0, 98), within(300, 0, 299), (64, 0.5), (32, 32)),
        (within(100, 80, 99), within(100, 0, 89), (64, 0.5), (10, 54)),
        (within(100, 50, 99), within(100, 0, 59), (64, 0.5), (10, 50)),
        (within(1000, 994, 999), within(1000, 0, 998), (500, 0.01), (5, 495)),
        (within(30, 0, 3), within(30, 0, 29), (65536, 1.0), (4, 26)),
        (within(0, 0, 0), within(0, 0, 0), (64, 0.5), (0, 0)),
    ],
    ids=["enough of both", "few objects", "few candidates", "small share", "all", "no anchors"],
)
@pytest.mark.parametrize("in_graph", [False, True])
def test_objects_and_background_are_drawn_in_proportion(is_object, is_candidate, options, counts, in_graph):
    batch_size, positive_fraction = options
    call = tf.function(sample) if in_graph else sample
    arguments = [tf.constant(np.stack([each, each])) for each in (is_object, is_candidate)]
    seeds = tf.constant([[1, 2], [3, 4]])
    drawn = call(*arguments, batch_size=batch_size, positive_fraction=positive_fraction, seeds=seeds).numpy()
    assert not np.any(drawn & ~is_candidate)
    assert np.sum(drawn & is_object, axis=1).tolist() == [counts[0]] * 2
    assert np.sum(drawn & ~is_object, axis=1).tolist() == [counts[1]] * 2


def test_anchors_are_drawn_evenly_and_anew_by_the_seed():
    def draw(seed):
        is_object = tf.range(20)[None] < tf.fill([400, 1], 10)
        seeds = tf.stack([tf.range(400), tf.fill([400], seed)], axis=1)
        return sample(is_object, tf.ones([400, 20], tf.bool), batch_size=8, positive_fraction=0.5, seeds=seeds).numpy()

    first, second = draw(3), draw(4)
    # 4 of 10 each; the standard error is .025.
    assert first.mean(axis=0) == pytest.approx(np.full(20, 0.4), abs=0.1)
    assert not np.array_equal(first, second)
    assert np.array_equal(draw(3), first)
