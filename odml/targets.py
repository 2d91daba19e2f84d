"""From ground truth to what a network should have said: matching anchors to objects, drawing some, coding their boxes.

All boxes are yxyx, 0..1 of the image. Anchors are [A, 4], the same for all images, or [B, A, 4].
"""

from __future__ import annotations

import tensorflow as tf

# What ``match`` says of an anchor without an object.
BACKGROUND = -1
IGNORED = -2

# The TF Object Detection API's FasterRcnnBoxCoder multiplies codes by (10, 10, 5, 5); here they are divided by these.
CODE_VARIANCE = (0.1, 0.1, 0.2, 0.2)
# What it adds to sides, so that a box without height or width has a finite code.
_EPSILON = 1e-8


def iou(boxes: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Give the intersection over union of each of boxes [..., M, 4] with each of others [..., A, 4] -> [..., M, A].

    It is 0 where two boxes share nothing, be they without area.
    """
    boxes, others = boxes[..., :, None, :], others[..., None, :, :]
    sides = tf.minimum(boxes[..., 2:], others[..., 2:]) - tf.maximum(boxes[..., :2], others[..., :2])
    shared = tf.reduce_prod(tf.maximum(sides, 0.0), axis=-1)
    return tf.math.divide_no_nan(shared, _areas(boxes) + _areas(others) - shared)


def match(
    anchors: tf.Tensor,
    boxes: tf.Tensor,
    is_object: tf.Tensor,
    *,
    threshold: float,
    unmatched_threshold: float | None = None,
    force: bool = True,
    usable: tf.Tensor | None = None,
) -> tf.Tensor:
    """Give each anchor the object that it stands for.

    An anchor takes the object it overlaps most if their IoU reaches the threshold. Beyond that, with ``force``, every
    object takes the anchor that overlaps it most, so that none goes without; of two objects that want one anchor the
    first has it (Liu et al., SSD, section 2.2 "Matching strategy"; Ren et al., Faster R-CNN, section 3.1.2).

    Args:
        anchors: float [A, 4] or [B, A, 4].
        boxes: float [B, M, 4], padded; M may be 0.
        is_object: bool [B, M], False for padding.
        threshold: IoU, 0..1, from which an anchor stands for an object.
        unmatched_threshold: IoU, at most ``threshold``, below which an anchor is background; between the two it is
            ignored. None: as ``threshold``, so that none is.
        usable: bool [B, A], False for anchors that are ignored and that no object takes; None for none.
    Returns:
        int32 [B, A]: the index of the object in 0..M-1, BACKGROUND or IGNORED.
    Raises:
        ValueError: ``unmatched_threshold`` is above ``threshold``.
    """
    possible = is_object[..., None] if usable is None else is_object[..., None] & usable[:, None, :]
    matches = match_by_similarity(
        iou(boxes, anchors), possible, threshold=threshold, unmatched_threshold=unmatched_threshold, force=force
    )
    return matches if usable is None else tf.where(usable, matches, IGNORED)


def match_by_similarity(
    similarity: tf.Tensor,
    possible: tf.Tensor,
    *,
    threshold: float,
    unmatched_threshold: float | None = None,
    force: bool = True,
) -> tf.Tensor:
    """Do what ``match`` does (the TF Object Detection API's ``ArgMaxMatcher``) with any measure in place of the IoU.

    Args:
        similarity: float [B, M, A] of objects and anchors.
        possible: bool [B, M, A] or [B, M, 1], False for pairs that never match.
    Returns:
        int32 [B, A], as ``match``.
    """
    lower = threshold if unmatched_threshold is None else unmatched_threshold
    if lower > threshold:
        raise ValueError(f"unmatched_threshold {lower} is above threshold {threshold}")
    possible = tf.broadcast_to(possible, tf.shape(similarity))
    # A row that never wins stands for "no object", so that images without any need no case of their own.
    rows = [[0, 0], [0, 1], [0, 0]]
    possible = tf.pad(possible, rows)
    similarity = tf.where(possible, tf.pad(similarity, rows), similarity.dtype.min)  # [B, M+1, A]
    highest = tf.reduce_max(similarity, axis=1)
    matches = tf.where(highest < lower, BACKGROUND, IGNORED)
    matches = tf.where(highest >= threshold, tf.argmax(similarity, axis=1, output_type=tf.int32), matches)
    if not force:
        return matches
    favourites = tf.argmax(similarity, axis=2)
    wanted = possible & tf.one_hot(favourites, tf.shape(similarity)[2], on_value=True, off_value=False)
    first = tf.argmax(tf.cast(wanted, tf.int32), axis=1, output_type=tf.int32)
    return tf.where(tf.reduce_any(wanted, axis=1), first, matches)


def encode(boxes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Code boxes [..., A, 4] relative to anchors, of that shape or [A, 4], as ty, tx, th, tw.

    Source: Ren et al., Faster R-CNN (2015), equation 2. Boxes and anchors without height or width have finite codes.
    """
    centres, sides = _centres_and_sides(boxes)
    anchor_centres, anchor_sides = _centres_and_sides(anchors)
    anchor_sides += _EPSILON
    code = [(centres - anchor_centres) / anchor_sides, tf.math.log((sides + _EPSILON) / anchor_sides)]
    return tf.concat(code, axis=-1) / tf.constant(CODE_VARIANCE)


def assign(anchors: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor, matches: tf.Tensor) -> dict[str, tf.Tensor]:
    """Make the targets of a batch.

    Args:
        anchors: float [A, 4] or [B, A, 4].
        boxes: float [B, M, 4], padded.
        classes: int [B, M], from 1; 0 is padding.
        matches: int32 [B, A] as ``match`` gives them.
    Returns:
        ``classes`` int32 [B, A], 0 for background and ignored; ``codes`` float [B, A, 4], 0 there; ``is_object``
        bool [B, A].
    """
    is_object = matches >= 0
    # Index 0 of the padded ground truth is background: class 0 and a box that encodes to nothing of use.
    rows = tf.maximum(matches, BACKGROUND) + 1
    matched_classes = tf.gather(tf.pad(classes, [[0, 0], [1, 0]]), rows, batch_dims=1)
    matched_boxes = tf.gather(tf.pad(boxes, [[0, 0], [1, 0], [0, 0]]), rows, batch_dims=1)
    codes = tf.where(is_object[..., None], encode(matched_boxes, anchors), 0.0)
    return {"classes": tf.cast(matched_classes, tf.int32), "codes": codes, "is_object": is_object}


def sample(
    is_object: tf.Tensor, is_candidate: tf.Tensor, *, batch_size: int, positive_fraction: float, seeds: tf.Tensor
) -> tf.Tensor:
    """Draw anchors at random for each image: objects up to a share of the number wanted, the rest background.

    Where there are fewer objects, background takes their place; where there is too little background, fewer are
    drawn (Ren et al., Faster R-CNN, section 3.1.3; TF Object Detection API, ``BalancedPositiveNegativeSampler``).

    Args:
        is_object: bool [B, A].
        is_candidate: bool [B, A], False for anchors that are never drawn.
        batch_size: how many to draw an image.
        positive_fraction: 0..1 of them may be objects.
        seeds: int [B, 2], one for each image: the same seed draws the same.
    Returns:
        bool [B, A], True for those drawn.
    """
    limit = int(positive_fraction * batch_size)
    images, anchors = tf.unstack(tf.shape(is_object))
    lots = tf.map_fn(
        lambda seed: tf.random.stateless_uniform([anchors], seed), seeds, fn_output_signature=tf.TensorSpec([None])
    )
    objects = _draw(lots, is_object & is_candidate, tf.fill([images], limit), limit=limit)
    left = batch_size - tf.reduce_sum(tf.cast(objects, tf.int32), axis=1)
    return objects | _draw(lots, ~is_object & is_candidate, left, limit=batch_size)


def _draw(lots: tf.Tensor, allowed: tf.Tensor, counts: tf.Tensor, *, limit: int) -> tf.Tensor:
    """Draw those of the highest lots [B, A] (0..1), ``counts`` [B] and at most ``limit`` of the allowed ones."""
    shape = tf.shape(allowed)
    lots = tf.where(allowed, lots, -1.0)
    lots, places = tf.math.top_k(lots, k=tf.minimum(limit, shape[1]))  # [B, k]
    drawn = (lots >= 0) & (tf.range(tf.shape(lots)[1]) < counts[:, None])
    images = tf.broadcast_to(tf.range(shape[0])[:, None], tf.shape(places))
    return tf.scatter_nd(tf.stack([images, places], axis=-1), tf.cast(drawn, tf.int32), shape) > 0


def _centres_and_sides(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Split boxes [..., 4] into centres and sides, [..., 2] each, y before x."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + sides / 2, sides


def _areas(boxes: tf.Tensor) -> tf.Tensor:
    return tf.reduce_prod(boxes[..., 2:] - boxes[..., :2], axis=-1)
