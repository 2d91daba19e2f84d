"""From raw outputs to detections: decoding boxes and non-maximum suppression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from odml.targets import CODE_VARIANCE


def decode(codes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Turn codes relative to anchors into boxes, yxyx; undoes ``targets.encode``.

    Args:
        codes: float [..., A, 4].
        anchors: float [A, 4], or of the codes' shape.
    Returns:
        float [..., A, 4] in the anchors' units, not clipped.
    """
    return keras.utils.bounding_boxes.decode_deltas_to_boxes(
        anchors, codes, "yxyx", "yxyx", encoded_format="center_yxhw", variance=CODE_VARIANCE
    )


def suppress(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections_per_class: int,
    max_detections: int,
) -> dict[str, tf.Tensor]:
    """Keep the best of overlapping boxes, class by class, and give them under the exported graph's names.

    Suppression sees unclipped boxes, the result is clipped to the image, and a box that lies wholly outside is never
    detected (TF Object Detection API, ``multiclass_non_max_suppression``; there it may suppress others, here not).

    Args:
        boxes: float [B, A, q, 4] yxyx, 0..1 of the image; q is 1, shared by all classes, or C.
        scores: float [B, A, C], 0..1, without background.
    Returns:
        ``detection_boxes`` [B, N, 4], ``detection_scores`` [B, N] descending, ``detection_classes`` [B, N] ids from
        1, ``num_detections`` [B], all float32; N is ``max_detections`` and rows past ``num_detections`` are zero
        (class 1).
    """
    clipped = tf.clip_by_value(boxes, 0.0, 1.0)
    inside = tf.reduce_all(clipped[..., 2:] > clipped[..., :2], axis=-1)  # [B, A, q]
    found = tf.image.combined_non_max_suppression(
        boxes,
        scores * tf.cast(inside, scores.dtype),
        max_detections_per_class,
        max_detections,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        clip_boxes=True,
    )
    return {
        "detection_boxes": found.nmsed_boxes,
        "detection_scores": found.nmsed_scores,
        "detection_classes": found.nmsed_classes + 1.0,
        "num_detections": tf.cast(found.valid_detections, tf.float32),
    }


def detections(boxes: tf.Tensor, scores: tf.Tensor, **settings: Any) -> dict[str, tf.Tensor]:
    """Suppress as ``suppress`` does, and give all scores of what is kept.

    Args:
        boxes: float [B, A, q, 4], as ``suppress`` takes them.
        scores: float [B, A, C + 1], 0..1, background first.
        settings: of ``suppress``.
    Returns:
        What ``suppress`` gives and ``detection_multiclass_scores`` [B, N, C + 1], background first, zero for padding.
    """
    found = suppress(boxes, scores[..., 1:], **settings)
    return found | {"detection_multiclass_scores": _rows_of(found, boxes, scores)}


def _rows_of(found: Mapping[str, tf.Tensor], boxes: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Find the scores [B, N, C + 1] of each detection by its box and its score: the suppression tells no indices."""
    classes = tf.cast(found["detection_classes"], tf.int32)
    of_class = tf.gather(tf.transpose(scores, [0, 2, 1]), classes, batch_dims=1)  # [B, N, A]
    clipped = tf.transpose(tf.clip_by_value(boxes, 0.0, 1.0), [0, 2, 1, 3])  # [B, q, A, 4]
    if boxes.shape[2] != 1:
        clipped = tf.gather(clipped, classes - 1, batch_dims=1)  # [B, N, A, 4]
    has_box = tf.reduce_all(tf.equal(found["detection_boxes"][:, :, None], clipped), axis=-1)
    has_score = tf.equal(found["detection_scores"][..., None], of_class)
    index = tf.argmax(tf.cast(has_box & has_score, tf.int32), axis=-1)  # [B, N]
    present = tf.cast(found["detection_scores"] > 0, scores.dtype)
    return tf.gather(scores, index, batch_dims=1) * present[..., None]
