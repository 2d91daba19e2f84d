"""``saved_model/``: ours, or any of the TF Object Detection API whose signature takes pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from odml.detector import OUTPUTS
from odml.errors import ExportError
from odml.forms.form import Detect

# Ours and those of TF 2 have the first; in those of TF 1 the default takes pictures, if the export was not told else.
_SIGNATURES = ("input_tensor", "serving_default")


def read(path: Path) -> Detect:
    """Read a SavedModel by the signature that takes pictures.

    Raises:
        ExportError: it is missing or damaged, or not a detector's.
    """
    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())
        raise ExportError(f"{path}: is no SavedModel ({reason}); export the detector again") from error
    for key in _SIGNATURES:
        if key in loaded.signatures and (name := _picture_input(loaded.signatures[key])):
            return _detect(loaded, loaded.signatures[key], name)
    raise ExportError(f"{path}: has no signature that takes pictures and gives detections; export the detector again")


def _picture_input(signature: Any) -> str:
    """Name the input of a signature that takes pictures alone and gives detections, "" for any other."""
    inputs = signature.structured_input_signature[1]
    takes_pictures = [spec.dtype for spec in inputs.values()] == [tf.uint8]
    return next(iter(inputs)) if takes_pictures and set(OUTPUTS) <= set(signature.structured_outputs) else ""


def _detect(loaded: Any, signature: Any, name: str) -> Detect:
    def detect(images: Any) -> dict[str, tf.Tensor]:
        assert loaded  # what it holds must live as long as the signature does
        return signature(**{name: tf.constant(images)})

    return detect
