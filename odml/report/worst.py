"""The pictures in which most is wrong, ground truth beside detections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from odml.drawing import beside, draw_annotation, draw_detections
from odml.evaluation import Analysis
from odml.structures import Annotation, Detections

_LONGEST_SIDE = 900


@dataclass(frozen=True)
class WorstPicture:
    """A drawn picture; ``name`` is that of its annotation, ``missed`` and ``wrong`` count the errors in it."""

    name: str
    missed: int
    wrong: int
    picture: Image.Image


def draw_worst(
    analysis: Analysis,
    images: Iterable[np.ndarray],
    annotations: Sequence[Annotation],
    detections: Sequence[Detections],
) -> list[WorstPicture]:
    """Draw the pictures of ``analysis.worst`` in that order, detections from its score threshold on.

    Args:
        images: uint8 [H, W, 3], those pictures in the order of their places; one is held at a time.
        annotations: of all pictures.
        detections: of all pictures.
    """
    drawn = {}
    for place, image in zip(sorted(each.picture for each in analysis.worst), images, strict=True):
        found = detections[place].best(score_threshold=analysis.score_threshold)
        sheet = beside(
            draw_annotation(image, annotations[place], analysis.label_map),
            draw_detections(image, found, analysis.label_map),
        )
        sheet.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
        drawn[place] = sheet
    return [
        WorstPicture(annotations[each.picture].image.as_posix(), each.missed, each.wrong, drawn[each.picture])
        for each in analysis.worst
    ]
