"""Random changes of a training picture, or of four: (image, boxes, classes) -> the same three.

Images are uint8 or float [H, W, 3], 0..255; boxes [N, 4] yxyx, 0..1; classes [N]. Everything works eagerly and inside
``Dataset.map``, and gives the same for the same ``seed``, integers [2].
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

Example = tuple[tf.Tensor, tf.Tensor, tf.Tensor]

# Liu et al., SSD (2016), section 2.2, "Data augmentation"; the numbers are those of the OD API's ssd_random_crop.
_MIN_OBJECT_COVERED = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_CROP_ASPECT_RATIO = (0.5, 2.0)
_CROP_AREA = (0.1, 1.0)
_KEEP_WHOLE = 0.15

_MOSAIC_SIDE = (0.5, 1.0)  # of the four pictures' together: their objects keep their size, or have half of it
_MOSAIC_MIN_SHOWN = 0.3


def random_horizontal_flip(image: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor, *, seed: tf.Tensor) -> Example:
    """Mirror the picture and its boxes, every other time."""

    def flip() -> tuple[tf.Tensor, tf.Tensor]:
        ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=1)
        return tf.reverse(image, axis=[1]), tf.stack([ymin, 1 - xmax, ymax, 1 - xmin], axis=1)

    flips = tf.random.stateless_uniform([], seed) < 0.5
    image, boxes = tf.cond(flips, flip, lambda: (image, boxes))
    return image, boxes, classes


def random_crop(image: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor, *, seed: tf.Tensor) -> Example:
    """Cut out a part that holds at least a random share of some object, as SSD does.

    An object stays if the part shows at least that share of it; its box is cut to the part. If no object would stay,
    or there is none, the whole picture is kept, as it is 15 % of the time anyway.
    """
    keep_seed, share_seed, crop_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    index = tf.random.stateless_uniform([], share_seed, maxval=len(_MIN_OBJECT_COVERED), dtype=tf.int32)
    share = tf.gather(tf.constant(_MIN_OBJECT_COVERED), index)
    begin, size, window = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.clip_by_value(boxes, 0.0, 1.0)[None],
        crop_seed,
        min_object_covered=share,
        aspect_ratio_range=_CROP_ASPECT_RATIO,
        area_range=_CROP_AREA,
        max_attempts=100,
        use_image_if_no_bounding_boxes=True,
    )
    kept_boxes, kept_classes = crop_boxes(boxes, classes, window[0, 0], min_shown=share)
    crops = (tf.size(kept_classes) > 0) & (tf.random.stateless_uniform([], keep_seed) >= _KEEP_WHOLE)
    return tf.cond(
        crops,
        lambda: (tf.slice(image, begin, size), kept_boxes, kept_classes),
        lambda: (image, boxes, classes),
    )


def crop_boxes(
    boxes: tf.Tensor, classes: tf.Tensor, window: tf.Tensor, *, min_shown: float | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Give the objects [n, 4], [n] of a part of the picture, in its frame and cut to it.

    Args:
        window: float [4] yxyx, the part, 0..1 of the picture.
        min_shown: 0..1, how much of its box the part must show of an object; what it does not show at all never stays.
    """
    top_left = tf.clip_by_value(boxes[:, :2], window[:2], window[2:])
    bottom_right = tf.clip_by_value(boxes[:, 2:], window[:2], window[2:])
    shown = tf.reduce_prod(bottom_right - top_left, axis=1)
    shown = tf.math.divide_no_nan(shown, tf.reduce_prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    stays = (shown > 0) & (shown >= min_shown - 1e-6)
    cropped = tf.concat([top_left - window[:2], bottom_right - window[:2]], axis=1)
    cropped /= tf.tile(window[2:] - window[:2], [2])
    return tf.boolean_mask(cropped, stays), tf.boolean_mask(classes, stays)


def random_color(image: tf.Tensor, boxes: tf.Tensor, classes: tf.Tensor, *, seed: tf.Tensor) -> Example:
    """Change brightness, contrast, saturation and hue a little; gives a float32 image, 0..255.

    Ranges: brightness +-32 of 255, contrast and saturation 0.5..1.5, hue +-18 degrees (SSD's public Caffe code).
    """
    brightness, contrast, saturation, hue = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
    image = tf.cast(image, tf.float32) / 255.0
    image = tf.image.stateless_random_brightness(image, 32 / 255, brightness)
    image = tf.image.stateless_random_contrast(image, 0.5, 1.5, contrast)
    image = tf.clip_by_value(image, 0.0, 1.0)
    image = tf.image.stateless_random_saturation(image, 0.5, 1.5, saturation)
    image = tf.image.stateless_random_hue(image, 0.05, hue)
    return tf.clip_by_value(image, 0.0, 1.0) * 255.0, boxes, classes


def mosaic(examples: Sequence[Example], *, seed: tf.Tensor) -> Example:
    """Lay four pictures together, two by two, and cut out a part of the first one's size or more, scaled back to it.

    An object stays if the part shows at least 30 % of it. (Bochkovskiy et al., YOLOv4, 2020, section 3.3; the window
    takes the place of its random centre.)

    Args:
        examples: four; the pictures are scaled to the first one's size, and the result is a float32 image of that size.
    """
    size = tf.shape(examples[0][0])[:2]
    images = [tf.image.resize(tf.cast(image, tf.float32), size) for image, _, _ in examples]
    canvas = tf.concat([tf.concat(images[:2], axis=1), tf.concat(images[2:], axis=1)], axis=0)
    corners = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))  # row, column
    quarters = [(each + tf.tile(corner, [2])) / 2 for (_, each, _), corner in zip(examples, corners, strict=True)]
    boxes = tf.concat(quarters, axis=0)
    classes = tf.concat([each for _, _, each in examples], axis=0)

    side, top, left = tf.unstack(tf.random.stateless_uniform([3], seed))
    side = _MOSAIC_SIDE[0] + side * (_MOSAIC_SIDE[1] - _MOSAIC_SIDE[0])
    top_left = tf.stack([top, left]) * (1 - side)
    window = tf.concat([top_left, top_left + side], axis=0)
    image = tf.ensure_shape(tf.image.crop_and_resize(canvas[None], window[None], [0], size)[0], examples[0][0].shape)
    return image, *crop_boxes(boxes, classes, window, min_shown=_MOSAIC_MIN_SHOWN)
