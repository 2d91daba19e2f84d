"""Detector families. A new one is a file here with a keras.Model of the three faces of ``SSD``, and an entry below."""

from __future__ import annotations

from odml.architectures.ssd import SSD
from odml.config import Configuration

ARCHITECTURES = {"ssd": SSD}


def build(configuration: Configuration, num_classes: int) -> SSD:
    """Make the network of a configuration with fresh weights, all of its variables created.

    Args:
        num_classes: without background, at least 1.
    """
    return ARCHITECTURES[configuration.architecture](configuration, num_classes)
