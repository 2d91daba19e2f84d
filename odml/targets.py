"""From ground truth to what a network should have said: matching anchors to objects, coding their boxes.

All boxes are yxyx, 0..1 of the image.
"""

from __future__ import annotations

import keras
import tensorflow as tf

# The TF Object Detection API's FasterRcnnBoxCoder scales codes by (10, 10, 5, 5); Keras divides by the variance.
CODE_VARIANCE = (0.1, 0.1, 0.2, 0.2)


def match(anchors: tf.Tensor, boxes: tf.Tensor, is_object: tf.Tensor, *, threshold: float) -> tf.Tensor:
    """Give each anchor the object that it stands for.

    An anchor takes the object it overlaps most if their IoU reaches the threshold. Beyond that every object takes
    the anchor that overlaps it most, so that none goes without; of two objects that want one anchor the first has
    it (Liu et al., SSD, section 2.2 "Matching strategy"; TF Object Detection API, ``ArgMaxMatcher`` with
    ``force_match_for_each_row``).

    Args:
        anchors: float [A, 4].
        boxes: float [B, M, 4], padded; M may be 0.
        is_object: bool [B, M], False for padding.
        threshold: IoU, 0..1.
    Returns:
        int32 [B, A]: the index of the object in 0..M-1, or -1 for background.
    """
    ious = keras.utils.bounding_boxes.compute_iou(boxes, anchors, bounding_box_format="yxyx")  # [B, M, A]
    # A row that never wins stands for "no object", so that images without any need no case of their own.
    ious = tf.pad(tf.where(is_object[..., None], ious, -1.0), [[0, 0], [0, 1], [0, 0]], constant_values=-1.0)
    is_object = tf.pad(is_object, [[0, 0], [0, 1]])
    best = tf.argmax(ious, axis=1, output_type=tf.int32)  # [B, A]
    best = tf.where(tf.reduce_max(ious, axis=1) >= threshold, best, -1)
    wanted = tf.one_hot(tf.argmax(ious, axis=2), tf.shape(anchors)[0], on_value=True, off_value=False)  # [B, M+1, A]
    wanted = wanted & is_object[..., None]
    first = tf.argmax(tf.cast(wanted, tf.int32), axis=1, output_type=tf.int32)
    return tf.where(tf.reduce_any(wanted, axis=1), first, best)


def encode(boxes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Code boxes [..., A, 4] relative to anchors [A, 4] as ty, tx, th, tw (Ren et al., Faster R-CNN, equation 2)."""
    return keras.utils.bounding_boxes.encode_box_to_deltas(
        anchors, boxes, "yxyx", "yxyx", encoding_format="center_yxhw", variance=CODE_VARIANCE
    )


def assign(
    anchors: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor, *, num_classes: int, threshold: float
) -> dict[str, tf.Tensor]:
    """Make the targets of a batch.

    Args:
        anchors: float [A, 4].
        boxes: float [B, M, 4], padded.
        classes: int [B, M], from 1; 0 is padding.
        num_classes: C, without background.
        threshold: IoU from which an anchor is an object.
    Returns:
        ``classes`` float [B, A, C + 1], one-hot with background first; ``codes`` float [B, A, 4], 0 for background;
        ``is_object`` bool [B, A].
    """
    matches = match(anchors, boxes, classes > 0, threshold=threshold)  # [B, A]
    is_object = matches >= 0
    # Index 0 of the padded ground truth is background: class 0 and a box that encodes to nothing of use.
    rows = matches + 1
    matched_classes = tf.gather(tf.pad(classes, [[0, 0], [1, 0]]), rows, batch_dims=1)
    matched_boxes = tf.gather(tf.pad(boxes, [[0, 0], [1, 0], [0, 0]]), rows, batch_dims=1)
    codes = tf.where(is_object[..., None], encode(matched_boxes, anchors), 0.0)
    return {"classes": tf.one_hot(matched_classes, num_classes + 1), "codes": codes, "is_object": is_object}
