"""A trained SSD -> TensorFlow Lite files for phones and small boards, as the TF Object Detection API made them."""

from odml.tflite.agreement import Difference
from odml.tflite.files import FILES, parse_forms, require_convertible, write

__all__ = ["FILES", "Difference", "parse_forms", "require_convertible", "write"]
