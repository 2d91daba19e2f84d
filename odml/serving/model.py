"""The pyfunc around a detector: encoded pictures in, rows of detections out."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

from odml.detector import Detector
from odml.errors import ImageError
from odml.images import read_image

GRAPH = "graph"
IMAGE = "image"
DEFAULTS = {"score_threshold": 0.5, "max_detections": 100}

_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]+={0,2}\s*")


class BadRequestError(MlflowException):
    """What the sender of a request can put right; the server answers 400 with this message.

    MLflow's server would put the whole of the request's data before it: the first message stays.
    """

    def __init__(self, message: str) -> None:
        self._first = message
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)

    @property
    def message(self) -> str:
        """The message as it was first given."""
        return self._first

    @message.setter
    def message(self, value: str) -> None:
        """Ignore what is set."""


class DetectorModel(PythonModel):
    """MLflow's face of a detector.

    Its input is a column ``image`` of encoded pictures (JPEG, PNG, GIF or BMP bytes, or their base64 text), its
    output a row each: ``labels``, ``class_ids`` (from 1), ``scores``, ``boxes`` (pixels ``[x1, y1, x2, y2]`` of the
    upright picture), best first, and the picture's ``width`` and ``height``.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the detector; MLflow calls this once."""
        # Several workers share a GPU, and TensorFlow would give all of its memory to the first.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        self.detector = Detector.load(Path(context.artifacts[GRAPH]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Detect in the pictures of the column ``image``.

        Args:
            context: not used.
            model_input: as the class says.
            params: ``score_threshold``, 0 to 1, and ``max_detections``, at least 1.
        Raises:
            BadRequestError: a row is no picture, or a parameter has a value that is not allowed.
        """
        chosen = _checked(DEFAULTS | (params or {}))
        sizes: list[tuple[int, int]] = []
        found = self.detector.detect(_read(list(model_input[IMAGE]), sizes), **chosen)
        name_of = self.detector.label_map.name_of
        return pd.DataFrame(
            {
                "labels": [[name_of(number) for number in each.classes.tolist()] for each in found],
                "class_ids": [each.classes.tolist() for each in found],
                "scores": [each.scores.astype(np.float64).round(4).tolist() for each in found],
                "boxes": [each.boxes.astype(np.float64).round(2).tolist() for each in found],
                "width": [width for _, width in sizes],
                "height": [height for height, _ in sizes],
            }
        )


def _checked(params: dict[str, Any]) -> dict[str, Any]:
    threshold, most = float(params["score_threshold"]), int(params["max_detections"])
    if not 0 <= threshold <= 1:
        raise BadRequestError(f"score_threshold: {threshold} is not in 0 to 1; send a number in that range")
    if most < 1:
        raise BadRequestError(f"max_detections: {most} is below 1; send a whole number of at least 1")
    return {"score_threshold": threshold, "max_detections": most}


def _read(values: Sequence[object], sizes: list[tuple[int, int]]) -> Iterator[np.ndarray]:
    """Decode the pictures one by one, and append the height and width of each to ``sizes``."""
    for number, value in enumerate(values, start=1):
        where = f"row {number} of {len(values)}"
        try:
            image = read_image(_encoded(value), where=where)
        except TypeError as error:
            raise BadRequestError(f"{where}: {error}; send a picture's bytes as base64 text") from None
        except ImageError as error:
            raise BadRequestError(str(error)) from None
        sizes.append(image.shape[:2])
        yield image


def _encoded(value: object) -> bytes:
    """Give a picture's bytes; MLflow hands over base64 text undecoded where a request says ``inputs``."""
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, (bytes, bytearray)):
        raise TypeError(f"the image is {type(value).__name__}, not bytes")
    value = bytes(value)
    # No picture format has letters and digits only, but text that is no picture may have.
    if _BASE64.fullmatch(value):
        with contextlib.suppress(binascii.Error):
            return base64.b64decode(value)
    return value
