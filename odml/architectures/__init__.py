"""Detector families. A new one is a file here with a keras.Model of the faces of ``SSD``, and an entry below."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import keras

from odml.architectures.faster_rcnn import FasterRCNN
from odml.architectures.ssd import SSD
from odml.config import Configuration

Architecture = SSD | FasterRCNN

ARCHITECTURES: dict[str, Callable[..., Architecture]] = {"ssd": SSD, "faster_rcnn": FasterRCNN}


def build(configuration: Configuration, num_classes: int, *, precision: str = "float32") -> Architecture:
    """Make the network of a configuration with fresh weights, all of its variables created.

    Args:
        num_classes: without background, at least 1.
        precision: the Keras policy by which features are computed: 16 bits with "mixed_bfloat16" and "mixed_float16".
            Variables, what the heads predict, losses and detections are float32 always.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return ARCHITECTURES[configuration.architecture](configuration, num_classes)
    finally:
        keras.config.set_dtype_policy(before)


def by_slim_name(variables: Iterable[keras.Variable]) -> dict[str, keras.Variable]:
    """Give variables of a network under the names that slim's checkpoints have: the path without the network's own."""
    return {variable.path.split("/", 1)[1]: variable for variable in variables}
