"""A network small enough to work out by hand: it sees red and green in the quadrants of a picture."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from odml import config
from odml.structures import LabelMap

LABEL_MAP = LabelMap(("red", "it's green"))
QUADRANTS = np.array([[0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1], [0.5, 0, 1, 0.5], [0.5, 0.5, 1, 1]], np.float32)


@keras.saving.register_keras_serializable("tests")
class Quadrants(keras.Model):
    """Score each quadrant of a picture: class 1 by its mean red, class 2 by its mean green, 0 to 1.

    It has the face of an architecture that export needs: weights and ``detect``.
    """

    def __init__(self) -> None:
        super().__init__(name="quadrants")
        self.configuration = config.load("ssd_mobilenet_v2")
        self.colours = keras.layers.Dense(2, use_bias=False, kernel_initializer=_red_and_green, name="colours")
        self.colours.build((None, 2, 2, 3))

    def detect(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        means = tf.image.resize(tf.cast(images, tf.float32), (2, 2), method="area") / 255.0
        scores = tf.reshape(self.colours(means), [-1, 4, 2])
        boxes = tf.tile(tf.constant(QUADRANTS)[None], [tf.shape(scores)[0], 1, 1])
        kept = tf.image.combined_non_max_suppression(boxes[:, :, None], scores, 8, 8, score_threshold=1e-8)
        return {
            "detection_boxes": kept.nmsed_boxes,
            "detection_scores": kept.nmsed_scores,
            "detection_classes": kept.nmsed_classes + 1.0,
            "num_detections": tf.cast(kept.valid_detections, tf.float32),
            "raw_detection_boxes": boxes,
            "raw_detection_scores": tf.pad(scores, [[0, 0], [0, 0], [1, 0]]),
        }


def _red_and_green(shape: tuple[int, ...], dtype: str | None = None) -> tf.Tensor:
    return tf.eye(*shape, dtype=dtype or tf.float32)


def coloured(height: int, width: int, *, top_left: tuple[int, int, int], elsewhere: tuple[int, int, int]) -> np.ndarray:
    """Draw a picture of one colour whose top left quadrant has another."""
    image = np.full((height, width, 3), elsewhere, np.uint8)
    image[: height // 2, : width // 2] = top_left
    return image
