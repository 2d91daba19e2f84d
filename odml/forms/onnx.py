"""``.onnx`` files that have the exported graph's tensors, in ONNX Runtime (the extra ``odml[onnx]``)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from odml.detector import OUTPUTS
from odml.errors import ExportError
from odml.forms.form import Detect


def read(path: Path) -> Detect:
    """Read an ONNX file.

    Raises:
        ExportError: it is missing or damaged, or not a detector's, or ONNX Runtime is not installed.
    """
    if not importlib.util.find_spec("onnxruntime"):
        raise ExportError(f"{path}: needs onnxruntime, which is not installed; pip install 'odml[onnx]'")
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # of many classes, whose only base this is
        reason = " ".join(str(error).split())
        raise ExportError(f"{path}: is no ONNX file that runs here ({reason}); export the detector again") from error
    outputs = [each.name for each in session.get_outputs()]
    names = [name.removesuffix(":0") for name in outputs]
    if len(session.get_inputs()) != 1 or not set(OUTPUTS) <= set(names):
        raise ExportError(f"{path}: is no detector, it must take pictures and give {', '.join(OUTPUTS)}")
    (given,) = session.get_inputs()

    def detect(images: Any) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(outputs, {given.name: np.asarray(images)}), strict=True))

    return detect
