"""Losses as pure functions of outputs and targets; each keeps the anchors apart, so that callers can weigh them."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import tensorflow as tf


def weight_decay(variables: Iterable[keras.Variable], rate: float) -> tf.Tensor:
    """Give half the rate times the sum of squares of the convolutions' and dense layers' kernels, a scalar.

    As in slim, depthwise kernels, biases and batch normalisation are free.
    """
    return rate * tf.add_n([tf.nn.l2_loss(variable.value) for variable in variables if variable.name == "weights"])


def share_of_count(count: tf.Tensor) -> tf.Tensor:
    """Give a replica's even share of a count over all replicas, which is 1 at least.

    Of sums over it the mean of the replicas is that of the whole batch, however it is spread.
    """
    context = tf.distribute.get_replica_context()
    return tf.maximum(context.all_reduce("SUM", count), 1.0) / context.num_replicas_in_sync


def sigmoid_cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Give the binary cross entropy, summed over the classes: [..., C] and [..., C] (0..1) -> [...]."""
    return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits), axis=-1)


def softmax_cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Give the cross entropy of one class among many: [..., C] and [..., C] (probabilities) -> [...]."""
    return tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=logits)


def smooth_l1(predictions: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Give Huber's loss with delta 1, summed over the code: [..., 4] and [..., 4] -> [...].

    Source: Girshick, Fast R-CNN (2015), equation 3.
    """
    distance = tf.abs(predictions - targets)
    return tf.reduce_sum(tf.where(distance < 1, 0.5 * distance**2, distance - 0.5), axis=-1)


def mine_hard_examples(
    losses: tf.Tensor,
    is_object: tf.Tensor,
    boxes: tf.Tensor,
    *,
    negatives_per_positive: float,
    min_negatives: int,
    iou_threshold: float,
) -> tf.Tensor:
    """Choose the anchors of each image to learn from: its objects and the background that is classified worst.

    Source: Liu et al., SSD (2016), section 2.2, "Hard negative mining": sorted by confidence loss, at most 3 a
    positive. The floor an image and the non-maximum suppression before are those of the TF Object Detection API's
    ``HardExampleMiner``: of anchors whose boxes are nearly the same only the worst remains, objects included.

    Args:
        losses: float [B, A], at least 0, by which to rank the anchors: their classification loss.
        is_object: bool [B, A] anchors that are matched to an object.
        boxes: float [B, A, 4], what each anchor predicts.
        negatives_per_positive: how much background to choose for each object that remains.
        min_negatives: how much to choose at least, also in an image without objects.
        iou_threshold: IoU above which boxes are nearly the same; at 1 all remain, and that costs nothing.
    Returns:
        bool [B, A], True for a chosen anchor.
    """
    remains = _worst_of_overlapping(losses, boxes, iou_threshold) if iou_threshold < 1 else tf.ones_like(is_object)
    objects, background = is_object & remains, ~is_object & remains
    count = tf.reduce_sum(tf.cast(objects, tf.float32), axis=1)
    wanted = tf.maximum(tf.cast(negatives_per_positive * count, tf.int32), min_negatives)  # [B]
    background_losses = tf.where(background, losses, -1.0)
    ranks = tf.argsort(tf.argsort(background_losses, axis=1, direction="DESCENDING"), axis=1)
    return objects | (background & (ranks < wanted[:, None]))


def _worst_of_overlapping(losses: tf.Tensor, boxes: tf.Tensor, iou_threshold: float) -> tf.Tensor:
    """Say which of [B, A] anchors non-maximum suppression by their losses leaves."""

    def suppress(image: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        losses, boxes = image
        kept = tf.image.non_max_suppression(boxes, losses, tf.size(losses), iou_threshold)
        return tf.scatter_nd(kept[:, None], tf.ones_like(kept), tf.shape(losses)) > 0

    return tf.map_fn(suppress, (losses, boxes), fn_output_signature=tf.bool)
