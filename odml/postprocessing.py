"""From raw outputs to detections: decoding boxes and non-maximum suppression."""

from __future__ import annotations

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
