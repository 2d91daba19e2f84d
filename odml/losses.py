"""Losses as pure functions of outputs and targets; each keeps the anchors apart, so that callers can weigh them."""

from __future__ import annotations

import tensorflow as tf


def sigmoid_cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Give the binary cross entropy, summed over the classes: [..., C] and [..., C] (0..1) -> [...]."""
    return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits), axis=-1)


def smooth_l1(predictions: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Give Huber's loss with delta 1, summed over the code: [..., 4] and [..., 4] -> [...].

    Source: Girshick, Fast R-CNN (2015), equation 3.
    """
    distance = tf.abs(predictions - targets)
    return tf.reduce_sum(tf.where(distance < 1, 0.5 * distance**2, distance - 0.5), axis=-1)


def mine_hard_negatives(
    losses: tf.Tensor, is_object: tf.Tensor, *, negatives_per_positive: float, min_negatives: int
) -> tf.Tensor:
    """Choose the background anchors of each image that are classified worst.

    Source: Liu et al., SSD (2016), section 2.2, "Hard negative mining": sorted by confidence loss, at most 3 a
    positive. The floor an image is the TF Object Detection API's (``min_negatives_per_image``); its preceding
    NMS among the examples at IoU 0.99 is left out.

    Args:
        losses: float [B, A] classification loss of each anchor.
        is_object: bool [B, A] anchors that are matched to an object.
        negatives_per_positive: how many to choose for each matched anchor.
        min_negatives: how many to choose at least, also in an image without objects.
    Returns:
        bool [B, A], True for a chosen background anchor.
    """
    objects = tf.reduce_sum(tf.cast(is_object, tf.float32), axis=1)
    wanted = tf.maximum(tf.cast(negatives_per_positive * objects, tf.int32), min_negatives)  # [B]
    background_losses = tf.where(is_object, -1.0, losses)
    ranks = tf.argsort(tf.argsort(background_losses, axis=1, direction="DESCENDING"), axis=1)
    return (ranks < wanted[:, None]) & ~is_object
