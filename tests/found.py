"""Detections and results, written down briefly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from odml.detection_outputs import Result, Setup
from odml.sources import FileNames, Source
from odml.structures import Detections, LabelMap

LABEL_MAP = LabelMap(("cat", "it's a/dog"))
Row = tuple[list[float], float, int]


def detections(*rows: Row) -> Detections:
    """Make detections of boxes, scores and classes."""
    boxes, scores, classes = zip(*rows, strict=True) if rows else ((), (), ())
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(classes, np.int32)
    )


def rows_of(found: Detections) -> list[Row]:
    """Give the boxes, scores and classes."""
    scores = [round(score, 3) for score in found.scores.tolist()]
    return list(zip(found.boxes.tolist(), scores, found.classes.tolist(), strict=True))


def result(name: str, *rows: Row, index: int = 0, root: Path = Path("/photos"), **others: Any) -> Result:
    """Make the result of a picture of 40 x 20 pixels, red on the left and blue on the right."""
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, :20, 0] = image[:, 20:, 2] = 255
    return Result(index, name, str(root / name), 40, 20, detections(*rows), **{"image": image, **others})


def setup(folder: Path, *names: str, **others: Any) -> Setup:
    """Make the setup of outputs for pictures of these names."""
    return Setup(folder, LABEL_MAP, FileNames([Source(name, name) for name in names]), **others)
