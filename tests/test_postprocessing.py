"""Expected values from the TF Object Detection API's tests of its box coder and of its NMS."""

import numpy as np
import pytest
import tensorflow as tf

from odml.postprocessing import decode, detections, suppress
from odml.targets import encode

ANCHORS = tf.constant([[15, 12, 30, 18], [0.1, 0, 0.7, 0.9]])
BOXES = tf.constant([[10, 10, 20, 15], [0.2, 0.1, 0.5, 0.4]])
CODES = tf.constant(
    [[-0.5, -0.416666, -0.405465, -0.182321], [-0.083333, -0.222222, -0.693147, -1.098612]]
) * tf.constant([10.0, 10, 5, 5])

# The original's pixels, all within the image when divided by this.
SIZE = 1100
EIGHT_BOXES = np.array(
    [
        [0, 0, 1, 1],
        [0, 0.1, 1, 1.1],
        [0, -0.1, 1, 0.9],
        [0, 10, 1, 11],
        [0, 10.1, 1, 11.1],
        [0, 100, 1, 101],
        [0, 1000, 1, 1002],
        [0, 1000, 1, 1002.1],
    ],
    np.float32,
)
EIGHT_SCORES = np.array(
    [[0.9, 0.01], [0.75, 0.05], [0.6, 0.01], [0.95, 0], [0.5, 0.01], [0.3, 0.01], [0.01, 0.85], [0.01, 0.5]], np.float32
)


def test_codes_are_decoded():
    assert decode(CODES, ANCHORS).numpy() == pytest.approx(BOXES.numpy(), abs=1e-4)


@pytest.mark.parametrize(
    "anchors", [ANCHORS, tf.stack([ANCHORS, ANCHORS[::-1]])], ids=["shared anchors", "anchors of each image"]
)
def test_decoding_undoes_encoding_in_a_batch(anchors):
    boxes = tf.stack([BOXES, BOXES + 0.25])
    assert decode(encode(boxes, anchors), anchors).numpy() == pytest.approx(boxes.numpy(), abs=1e-4)


def found_in(boxes, scores, *, score_threshold=0.1, iou_threshold=0.5, per_class=4, total=4):
    boxes = np.asarray(boxes, np.float32)
    boxes = boxes if boxes.ndim == 4 else boxes[:, :, None]
    return {
        name: value.numpy()
        for name, value in suppress(
            tf.constant(boxes),
            tf.constant(np.asarray(scores, np.float32)),
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections_per_class=per_class,
            max_detections=total,
        ).items()
    }


@pytest.mark.parametrize(
    ("per_class", "total", "kept"), [(4, 4, [3, 0, 6, 5]), (2, 4, [3, 0, 6]), (4, 2, [3, 0])], ids=str
)
def test_best_of_overlapping_boxes_are_kept_class_by_class(per_class, total, kept):
    found = found_in(EIGHT_BOXES[None] / SIZE, EIGHT_SCORES[None], per_class=per_class, total=total)
    count = len(kept)
    assert found["num_detections"].tolist() == [count]
    assert found["detection_boxes"][0, :count] * SIZE == pytest.approx(EIGHT_BOXES[kept], abs=1e-3)
    assert found["detection_scores"][0, :count].tolist() == EIGHT_SCORES.max(axis=1)[kept].tolist()
    assert found["detection_classes"][0, :count].tolist() == [1, 1, 2, 1][:count]


def test_one_class():
    found = found_in(EIGHT_BOXES[None] / SIZE, EIGHT_SCORES[None, :, :1], per_class=3, total=3)
    assert found["detection_boxes"][0] * SIZE == pytest.approx(EIGHT_BOXES[[3, 0, 5]], abs=1e-3)


# Those of each class: the first class has the eight boxes.
PER_CLASS_BOXES = np.stack(
    [
        EIGHT_BOXES,
        [
            [0, 0, 4, 5],
            [0, 0.1, 2, 1.1],
            [0, -0.1, 1, 0.9],
            [0, 10, 1, 11],
            [0, 10.1, 1, 11.1],
            [0, 100, 1, 101],
            [0, 999, 2, 1004],
            [0, 999, 2, 1002.7],
        ],
    ],
    axis=1,
)


def test_each_class_may_have_its_own_boxes():
    found = found_in(PER_CLASS_BOXES[None] / SIZE, EIGHT_SCORES[None])
    expected = np.array([[0, 10, 1, 11], [0, 0, 1, 1], [0, 999, 2, 1004], [0, 100, 1, 101]])
    assert found["detection_boxes"][0] * SIZE == pytest.approx(expected, abs=1e-3)
    assert found["detection_scores"].tolist() == np.float32([[0.95, 0.9, 0.85, 0.3]]).tolist()
    assert found["detection_classes"].tolist() == [[1, 1, 2, 1]]


FIRST, SECOND = [[0, 10, 1, 11], [0, 0, 1, 1]], [[0, 999, 2, 1004], [0, 10.1, 1, 11.1], [0, 100, 1, 101]]


@pytest.mark.parametrize(
    ("sizes", "boxes", "scores", "classes"),
    [
        ([SIZE, SIZE], [FIRST, SECOND], [[0.95, 0.9], [0.85, 0.5, 0.3]], [[1, 1], [2, 1, 1]]),
        ([200, 200], [FIRST, SECOND[1:]], [[0.95, 0.9], [0.5, 0.3]], [[1, 1], [1, 1]]),
        ([5, 200], [FIRST[1:], SECOND[1:]], [[0.9], [0.5, 0.3]], [[1], [1, 1]]),
    ],
    ids=["within", "some outside", "windows of each image"],
)
def test_images_of_a_batch_are_suppressed_apart_clipped_and_padded_with_zeros(sizes, boxes, scores, classes):
    scale = np.reshape(sizes, [2, 1, 1, 1])
    found = found_in(np.stack([PER_CLASS_BOXES[:4], PER_CLASS_BOXES[4:]]) / scale, EIGHT_SCORES.reshape(2, 4, 2))
    assert found["num_detections"].tolist() == [len(each) for each in boxes]
    for image in range(2):
        padding = 4 - len(boxes[image])
        expected = np.array(boxes[image] + [[0] * 4] * padding)
        assert found["detection_boxes"][image] * sizes[image] == pytest.approx(expected, abs=1e-3)
        assert found["detection_scores"][image].tolist() == np.float32(scores[image] + [0] * padding).tolist()
        assert found["detection_classes"][image].tolist() == classes[image] + [1] * padding
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}


def test_boxes_are_clipped_to_the_image_and_those_outside_are_not_detected():
    # core/box_list_ops_test, a window of 9 x 14.
    boxes = [
        [5, 5, 6, 6],
        [-1, -2, 4, 5],
        [2, 3, 5, 9],
        [0, 0, 9, 14],
        [-100, -100, 300, 600],
        [-10, -10, -9, -9],
    ]
    scores = np.linspace(0.9, 0.4, 6)[None, :, None]
    found = found_in(np.array([boxes]) / [9, 14, 9, 14], scores, iou_threshold=1.0, per_class=6, total=6)
    expected = [[5, 5, 6, 6], [0, 0, 4, 5], [2, 3, 5, 9], [0, 0, 9, 14], [0, 0, 9, 14], [0, 0, 0, 0]]
    assert found["num_detections"].tolist() == [5]
    assert found["detection_boxes"][0] * [9, 14, 9, 14] == pytest.approx(np.array(expected), abs=1e-5)


def test_anchors_outside_the_image_are_not_detected():
    # ssd_meta_arch_test: codes of zero, one score for all.
    anchors = tf.constant([[0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1], [0.5, 0, 1, 0.5], [1, 1, 1.5, 1.5]])
    boxes = decode(tf.zeros([2, 4, 4]), anchors)
    found = found_in(boxes, np.full([2, 4, 1], 0.5), iou_threshold=1.0, per_class=5, total=5)
    assert found["num_detections"].tolist() == [3, 3]
    assert found["detection_boxes"][1] == pytest.approx(np.pad(anchors[:3], [[0, 2], [0, 0]]), abs=1e-6)


def test_suppression_sees_boxes_before_they_are_clipped():
    # The window [5, 4, 8, 7] of [0, 0, 10, 10] and [1, 1, 11, 11], whose IoU is 81/119 unclipped and 1 clipped.
    window = (np.array([[0, 0, 10, 10], [1, 1, 11, 11]]) - [5, 4, 5, 4]) / 3
    suppressed = found_in(window[None], [[[0.9], [0.75]]], score_threshold=0)
    assert suppressed["num_detections"].tolist() == [1]
    assert suppressed["detection_boxes"][0, 0].tolist() == [0, 0, 1, 1]
    both = found_in(window[None], [[[0.9], [0.75]]], score_threshold=0, iou_threshold=0.7)
    assert both["num_detections"].tolist() == [2]


@pytest.mark.parametrize(
    "box", [[0.2, 1.0, 0.4, 1.3], [-0.5, 0.2, 0.0, 0.4], [0.2, 0.4, 0.2, 0.6], [0.6, 0.2, 0.4, 0.4]]
)
def test_box_outside_the_image_or_without_area_is_not_detected(box):
    found = found_in([[box, [0.4, 0.4, 0.6, 0.6]]], [[[0.9], [0.2]]], score_threshold=0)
    assert found["num_detections"].tolist() == [1]
    assert found["detection_scores"][0, 0] == np.float32(0.2)


def test_score_must_be_above_the_threshold():
    found = found_in(EIGHT_BOXES[None, :1], [[[0.5]]], score_threshold=0.5)
    assert found["num_detections"].tolist() == [0]
    assert found["detection_boxes"].tolist() == [[[0, 0, 0, 0]] * 4]


@pytest.mark.parametrize("shared", [True, False])
def test_each_detection_has_the_scores_of_its_anchor(shared):
    # Two boxes of one score in the second class; the third overlaps the first; padding after them.
    boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1.2, 1], [0, 0, 0.5, 0.45]], np.float32)[:, None]
    boxes = boxes if shared else np.repeat(boxes, 2, axis=1)
    scores = np.array([[0.1, 0.3, 0.6], [0.3, 0.1, 0.6], [0.5, 0.2, 0.3]], np.float32)
    found = detections(
        tf.constant(boxes[None]),
        tf.constant(scores[None]),
        score_threshold=0.25,
        iou_threshold=0.5,
        max_detections_per_class=5,
        max_detections=5,
    )
    assert found["detection_classes"].numpy()[0, :3].tolist() == [2, 2, 1]
    by_box = {0.5: scores[0].tolist(), 1.0: scores[1].tolist()}
    expected = [by_box[float(box[2])] for box in found["detection_boxes"].numpy()[0, :3]]
    assert found["detection_multiclass_scores"].numpy()[0].tolist() == [*expected, [0, 0, 0], [0, 0, 0]]
    assert expected[0] != expected[1]
