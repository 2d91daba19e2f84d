"""``.tflite`` files whose outputs are boxes, classes, scores and count: ours, or any of the TF Object Detection API.

What programs do around such a file is done here: pictures are stretched to its input's size, as the network's training
does it, and scaled if it takes float32; classes count from 1, and boxes are clipped.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from odml.detector import OUTPUTS
from odml.errors import ExportError
from odml.forms.form import Detect


def read(path: Path) -> Detect:
    """Read a TensorFlow Lite file.

    Raises:
        ExportError: it is missing or damaged, or not a detector's.
    """
    try:
        loaded = interpreter(path.read_bytes())
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ExportError(f"{path}: is no TensorFlow Lite file that runs here ({reason}); export it again") from error
    given, outputs = loaded.get_input_details(), loaded.get_output_details()
    if len(given) != 1 or given[0]["shape"].shape != (4,) or [len(each["shape"]) for each in outputs] != [3, 2, 2, 1]:
        raise ExportError(f"{path}: is no detector, which takes a picture and gives boxes, classes, scores and count")

    def detect(images: Any) -> dict[str, np.ndarray]:
        found = [_detect(loaded, image) for image in np.asarray(images)]
        return {name: np.stack([each[name] for each in found]) for name in OUTPUTS}

    return detect


def interpreter(content: bytes) -> Any:
    """Give TensorFlow's interpreter of a file's bytes, ready to run."""
    with warnings.catch_warnings():
        # TensorFlow will leave its interpreter to the package ai-edge-litert, 58 MB with the same code.
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated")
        loaded = tf.lite.Interpreter(model_content=content)
    loaded.allocate_tensors()
    return loaded


def _detect(loaded: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    (given,), outputs = loaded.get_input_details(), loaded.get_output_details()
    loaded.set_tensor(given["index"], _input(image, given))
    loaded.invoke()
    boxes, classes, scores, count = (loaded.get_tensor(output["index"])[0] for output in outputs)
    there = np.arange(len(scores)) < count  # what stands in other rows has no meaning
    return {
        "num_detections": np.asarray(count),
        "detection_boxes": np.where(there[:, None], np.clip(boxes, 0, 1), 0),
        "detection_scores": np.where(there, scores, 0),
        "detection_classes": np.where(there, classes + 1, 1),
    }


def _input(image: np.ndarray, given: dict[str, Any]) -> np.ndarray:
    """Stretch a picture [H, W, 3] to an input [1, h, w, 3], and scale it to -1..1 for one of float32."""
    size = given["shape"][1:3].tolist()
    x = tf.raw_ops.ResizeBilinear(images=image[None], size=size, align_corners=False, half_pixel_centers=False).numpy()
    return x / np.float32(127.5) - 1 if given["dtype"] == np.float32 else np.round(x).astype(given["dtype"])
