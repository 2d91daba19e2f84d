"""The file that MLflow keeps with the model and runs to load it ("models from code")."""

import mlflow

from odml.serving.model import DetectorModel

mlflow.models.set_model(DetectorModel())
