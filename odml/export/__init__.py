"""A trained network -> ``graph/``: what the TF Object Detection API's exporter wrote, for the clients it had."""

from odml.export.folder import export
from odml.export.parity import Parity

__all__ = ["Parity", "export"]
