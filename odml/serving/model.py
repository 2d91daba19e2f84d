"""The pyfunc around a detector: encoded pictures in, rows of detections out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from odml.detector import Detector
from odml.errors import ImageError
from odml.serving import parameters
from odml.serving.bad_request import BadRequestError
from odml.serving.limits import Allowed, Limits, answers_requests
from odml.serving.pictures import COLUMNS, PictureReader
from odml.structures import Detections, LabelMap

GRAPH = "graph"
ANSWERED = ("labels", "class_ids", "scores", "boxes", "width", "height", "error")


class DetectorModel(PythonModel):
    """MLflow's face of a detector; several threads may call it at once.

    Its input is a column ``image`` of encoded pictures (JPEG, PNG, GIF, BMP or WebP bytes, or their base64 text), or
    columns ``path`` or ``url`` where the operator allows them (``odml.serving.limits``). Its output is a row each:
    ``labels``, ``class_ids`` (from 1), ``scores``, ``boxes`` (pixels ``[x1, y1, x2, y2]`` of the upright picture),
    best first, the picture's ``width`` and ``height``, and ``error``: what is wrong with it, "" if nothing is.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the detector and read the limits; MLflow calls this once."""
        # Several workers share a GPU, and TensorFlow would give all of its memory to the first.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        self.limits = Limits.of(os.environ)
        self._pictures = PictureReader(self.limits, Allowed.of(os.environ))
        self.detector = Detector.load(Path(context.artifacts[GRAPH]))

    @property
    def label_map(self) -> LabelMap:
        """The classes of the detector."""
        return self.detector.label_map

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Detect in the pictures of a table.

        Args:
            context: not used.
            model_input: as the class says.
            params: ``score_threshold``, 0 to 1; ``max_detections``, at least 1; ``classes``, names, none for all;
                ``errors``: "fail", or "row" to answer what is wrong with a picture in its row.
        Raises:
            BadRequestError: a row is no picture (unless ``errors`` is "row"), there are too many, or a parameter has a
                value that is not allowed.
        """
        if not isinstance(model_input, pd.DataFrame) or not set(COLUMNS) & set(model_input.columns):
            raise BadRequestError(f"columns: there is none of {', '.join(COLUMNS)}; send pictures in the column image")
        return pd.DataFrame(self.answer(model_input.to_dict("records"), params), columns=list(ANSWERED))

    def answer(self, rows: Sequence[Mapping[Any, Any]], params: object = None) -> list[dict[str, Any]]:
        """Give what ``predict`` does, as plain values."""
        chosen = parameters.parse(params, self.label_map)
        if answers_requests(os.environ) and len(rows) > self.limits.max_rows:
            raise BadRequestError(f"rows: {len(rows)} are more than {self.limits.max_rows}; send fewer in a request")
        shapes: dict[int, tuple[int, int]] = {}
        errors: dict[int, str] = {}
        found = self.detector.detect(self._read(rows, shapes, errors, fails=chosen.fails))
        answers = {
            index: self._answer(chosen.choose(detections), shape)
            for (index, shape), detections in zip(shapes.items(), found, strict=True)
        }
        return [answers.get(index) or _without_picture(errors[index]) for index in range(len(rows))]

    def _read(
        self,
        rows: Sequence[Mapping[Any, Any]],
        shapes: dict[int, tuple[int, int]],
        errors: dict[int, str],
        *,
        fails: bool,
    ) -> Iterator[np.ndarray]:
        """Decode the pictures one by one; enter the height and width of each, or what is wrong, by its row."""
        for index, row in enumerate(rows):
            try:
                image = self._pictures.read(row, where=f"row {index + 1} of {len(rows)}")
            except ImageError as error:
                if fails:
                    raise BadRequestError(str(error)) from None
                errors[index] = str(error)
                continue
            shapes[index] = image.shape[:2]
            yield image

    def _answer(self, found: Detections, shape: tuple[int, int]) -> dict[str, Any]:
        class_ids = found.classes.tolist()
        return {
            "labels": [self.label_map.name_of(number) for number in class_ids],
            "class_ids": class_ids,
            "scores": found.scores.astype(np.float64).round(4).tolist(),
            "boxes": found.boxes.astype(np.float64).round(2).tolist(),
            "width": shape[1],
            "height": shape[0],
            "error": "",
        }


def _without_picture(error: str) -> dict[str, Any]:
    return {"labels": [], "class_ids": [], "scores": [], "boxes": [], "width": 0, "height": 0, "error": error}
