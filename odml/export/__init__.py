"""A trained network -> ``graph/``: what the TF Object Detection API's exporter wrote, for the clients it had."""

from odml.export.folder import check_form, describe, export
from odml.export.onnx import require_onnx, write_onnx
from odml.export.parity import Parity

__all__ = ["Parity", "check_form", "describe", "export", "require_onnx", "write_onnx"]
