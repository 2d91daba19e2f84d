"""What an export writes, form by form: each file here reads one kind of file as a function of pictures.

The functions take uint8 pictures [N, H, W, 3], RGB, all of one size, and give the exported graph's tensors:
``num_detections`` [N], ``detection_boxes`` [N, M, 4] (yxyx, 0..1 of the picture), ``detection_scores`` [N, M] and
``detection_classes`` [N, M], classes from 1; forms that have more give more. A new form is one file and one line here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from odml.errors import ExportError
from odml.forms import frozen_graph, onnx, saved_model, tflite
from odml.forms.form import Detect, Form, label_map_of

__all__ = ["DEFAULT", "FORMS", "Detect", "Form", "find_form", "label_map_of"]

DEFAULT = "frozen_graph"
FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form("frozen_graph", "frozen_inference_graph.pb", frozen_graph.read),
        Form("saved_model", "saved_model", saved_model.read),
        Form("tflite_float32", "model.tflite", tflite.read, batches=False),
        Form("tflite_float16", "model_float16.tflite", tflite.read, batches=False),
        Form("tflite_int8", "model_int8.tflite", tflite.read, batches=False),
        Form("onnx", "model.onnx", onnx.read),
    )
}
_KINDS = {".pb": "frozen_graph", ".tflite": "tflite_float32", ".onnx": "onnx"}


def find_form(path: Path) -> Form:
    """Give the form of a file or folder by its name, or by its kind; one with a name of its own is called by that kind.

    Raises:
        ExportError: it is of no known kind.
    """
    known = next((form for form in FORMS.values() if form.file == path.name), None)
    if known:
        return known
    if (path / "saved_model.pb").is_file():
        return FORMS["saved_model"]
    if path.suffix not in _KINDS:
        kinds = ", ".join([*(f"*{suffix}" for suffix in _KINDS), "saved_model"])
        raise ExportError(f"{path}: is no form of a detector; name a file or folder that the export wrote ({kinds})")
    form = FORMS[_KINDS[path.suffix]]
    return replace(form, name=form.name.partition("_float")[0], file=path.name)
