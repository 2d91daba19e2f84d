"""How pictures come to a network's input size."""

from __future__ import annotations

import tensorflow as tf


def resize_bilinear(images: tf.Tensor, size: tf.Tensor | tuple[int, int]) -> tf.Tensor:
    """Resize images [B, H, W, 3] (or one, [H, W, 3]) to (height, width), float32 in the range they had.

    TF1's sampling (corners at pixel centres are not moved by half a pixel), which the released weights know.
    """
    with tf.name_scope("Preprocessor/map/"):
        batch = images if images.shape.rank == 4 else images[None]
        resized = tf.raw_ops.ResizeBilinear(
            images=tf.cast(batch, tf.float32), size=size, align_corners=False, half_pixel_centers=False
        )
        return resized if images.shape.rank == 4 else resized[0]
