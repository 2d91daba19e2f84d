"""``frozen_inference_graph.pb``: ours, or any of the TF Object Detection API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from odml.detector import read_network
from odml.forms.form import Detect

_MORE = ("raw_detection_boxes", "raw_detection_scores")


def read(path: Path) -> Detect:
    """Read a frozen graph.

    Raises:
        ExportError: it is missing or damaged, or not a detector's.
    """
    network = read_network(path, optional=_MORE)

    def detect(images: Any) -> dict[str, tf.Tensor]:
        return network(tf.constant(images))

    return detect
