"""What goes into an output, and what an output is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from odml.sources import FileNames
from odml.structures import Annotation, Detections, LabelMap


@dataclass(frozen=True, slots=True)
class Result:
    """What was found in one picture.

    ``index`` counts the pictures from 0; ``name`` tells it apart (odml.sources) and ``where`` is its path or address;
    ``image`` is uint8 [H, W, 3], None where an earlier run has detected in it; ``truth`` is its ground truth, if known.
    """

    index: int
    name: str
    where: str
    width: int
    height: int
    detections: Detections
    image: np.ndarray | None = None
    truth: Annotation | None = None


@dataclass(frozen=True)
class Setup:
    """What all outputs of one run have in common.

    ``title`` is what people call the pictures, ``facts`` what they want to know about how it was detected, by name.
    """

    folder: Path
    label_map: LabelMap
    names: FileNames
    title: str = "pictures"
    score_threshold: float = 0.0
    facts: tuple[tuple[str, str], ...] = ()


class Output:
    """The face of an output, which writes nothing: each kind overrides what it needs."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    def write(self, result: Result) -> Any:
        """Write what belongs to this picture alone, which has its image; what is returned goes to ``add``."""

    def add(self, result: Result, written: Any) -> None:
        """Take the next picture; one that an earlier run has detected in comes with None, and without its image."""

    def refuse(self, reason: str) -> None:
        """Take the reason why a picture cannot be read."""

    def has(self, result: Result) -> bool:
        """Say whether all that ``write`` leaves of this picture is there already."""
        return True

    def close(self) -> None:
        """End the files that speak of all pictures."""


def entries(result: Result, label_map: LabelMap) -> Iterator[dict[str, Any]]:
    """Give each detection as people read it: ``label``, ``class_id``, ``score``, ``box`` in pixels [x1, y1, x2, y2]."""
    detections = result.detections
    rows = zip(detections.classes.tolist(), detections.scores.tolist(), detections.boxes.tolist(), strict=True)
    for class_id, score, box in rows:
        yield {
            "label": label_map.name_of(class_id),
            "class_id": class_id,
            "score": round(score, 4),
            "box": [round(side, 2) for side in box],
        }


def with_area(result: Result) -> Detections:
    """Give the detections clipped to the picture, those that have an area there: labelling tools take no others."""
    boxes = np.clip(result.detections.boxes, 0, np.array([result.width, result.height] * 2, np.float32))
    kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return Detections(boxes[kept], result.detections.scores[kept], result.detections.classes[kept])
