"""The detector as an MLflow model: what answers ``mlflow models serve``, ``mlflow models predict`` and Spark."""

from odml.serving.model import DetectorModel
from odml.serving.packaging import log_detector, save_detector

__all__ = ["DetectorModel", "log_detector", "save_detector"]
