"""The parameters of a request: which there are, their defaults, and what they may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mlflow.types import DataType, ParamSchema, ParamSpec

from odml.serving.bad_request import BadRequestError, quoted
from odml.structures import Detections, LabelMap

DEFAULTS: dict[str, Any] = {"score_threshold": 0.5, "max_detections": 100, "classes": [], "errors": "fail"}
_ERRORS = ("fail", "row")


@dataclass(frozen=True)
class Parameters:
    """What is answered: detections of some classes (ids; none means all), and what becomes of rows without picture."""

    score_threshold: float
    max_detections: int
    class_ids: tuple[int, ...]
    fails: bool

    def choose(self, detections: Detections) -> Detections:
        """Keep the detections that are asked for."""
        wanted = detections.of_classes(self.class_ids)
        return wanted.best(score_threshold=self.score_threshold, max_detections=self.max_detections)


def schema() -> ParamSchema:
    """Give the parameters as MLflow's signatures have them."""
    kinds = {
        "score_threshold": (DataType.double, None),
        "max_detections": (DataType.long, None),
        "classes": (DataType.string, (-1,)),
        "errors": (DataType.string, None),
    }
    return ParamSchema([ParamSpec(name, kind, DEFAULTS[name], shape) for name, (kind, shape) in kinds.items()])


def parse(params: object, label_map: LabelMap) -> Parameters:
    """Check the parameters of a request; what is left out or null has its default.

    Raises:
        BadRequestError: an unknown name, another type, or a value that is not allowed.
    """
    if params is not None and not isinstance(params, Mapping):
        raise BadRequestError(f"params: {quoted(params)} is no object; send names with their values")
    given = {name: value for name, value in (params or {}).items() if value is not None}
    if unknown := [name for name in given if name not in DEFAULTS]:
        raise BadRequestError(f"params: there is no {quoted(unknown[0])}; there are {', '.join(DEFAULTS)}")
    values = DEFAULTS | given
    return Parameters(
        _threshold(values["score_threshold"]),
        _most(values["max_detections"]),
        _class_ids(values["classes"], label_map),
        _fails(values["errors"]),
    )


def _threshold(value: object) -> float:
    if _is_number(value) and 0 <= value <= 1:  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    raise BadRequestError(f"score_threshold: {quoted(value)} is not in 0 to 1; send a number in that range")


def _most(value: object) -> int:
    if _is_number(value) and 1 <= value < math.inf and value == int(value):  # type: ignore[operator, call-overload]
        return int(value)  # type: ignore[call-overload]
    raise BadRequestError(f"max_detections: {quoted(value)} is no whole number of at least 1; send one")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _class_ids(value: object, label_map: LabelMap) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple, np.ndarray)):
        raise BadRequestError(f"classes: {quoted(value)} is no list; send names of classes in brackets")
    for name in value:
        if name not in label_map.names:
            known = ", ".join(label_map.names)
            raise BadRequestError(f"classes: {quoted(name)} is no class of this detector; there are {known}")
    return tuple(label_map.id_of(str(name)) for name in value)


def _fails(value: object) -> bool:
    if isinstance(value, str) and value in _ERRORS:
        return value == "fail"
    raise BadRequestError(f"errors: {quoted(value)} is neither fail nor row; send one of the two")
