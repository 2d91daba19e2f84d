"""Pictures of problems: the picture, and the box that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from odml.annotations.draft import Problem
from odml.drawing import draw_annotation
from odml.errors import ImageError
from odml.images import read_image
from odml.structures import Annotation, LabelMap

_SIDE = 480  # pixels of the longer side of what is shown
_CLOSE_UP = 0.15  # a box below this share of the picture is shown from near
_GROUND = 225  # grey of what lies outside the picture

_Window = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels of the picture, also outside it


@dataclass(frozen=True)
class ProblemPicture:
    """A problem to look at."""

    problem: Problem
    picture: Image.Image


def draw_problems(problems: Sequence[Problem], *, of_each_kind: int) -> list[ProblemPicture]:
    """Draw the first few problems of each kind, in the problems' order; those that have no picture are left out."""
    drawn: dict[str, int] = {}
    found = []
    for problem in problems:
        if problem.image is None or drawn.get(problem.kind, 0) >= of_each_kind:
            continue
        try:
            image = read_image(problem.image)
        except ImageError:
            continue  # what cannot be decoded cannot be shown; its message says so
        drawn[problem.kind] = drawn.get(problem.kind, 0) + 1
        found.append(ProblemPicture(problem, _draw(problem, image)))
    return found


def _draw(problem: Problem, image: np.ndarray) -> Image.Image:
    window = _window(problem, width=image.shape[1], height=image.shape[0])
    shown = _cut_out(image, window)
    scale = _SIDE / max(shown.size)
    size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
    shown = shown.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST)
    if problem.box is None:
        return shown
    box = (np.sort(np.reshape(problem.box, (2, 2)), axis=0).ravel() - np.tile(window[:2], 2)) * scale
    name = f"object {problem.object}" if problem.object else "here"
    marked = Annotation(problem.image, *size, np.array([box], np.float32), (name,))  # type: ignore[arg-type]
    return draw_annotation(np.asarray(shown), marked, LabelMap((*"12345", name)))  # the sixth colour, vermillion


def _window(problem: Problem, *, width: int, height: int) -> _Window:
    """Choose what to show: all of the picture and the box; of a small box its surroundings."""
    if problem.box is None:
        return 0, 0, width, height
    (x1, x2), (y1, y2) = sorted(problem.box[0::2]), sorted(problem.box[1::2])
    if max((x2 - x1) / width, (y2 - y1) / height) < _CLOSE_UP:
        reach = max(60.0, 2 * (x2 - x1), 2 * (y2 - y1))
        x1, y1, x2, y2 = x1 - reach, y1 - reach, x2 + reach, y2 + reach
        if x1 < width and y1 < height and x2 > 0 and y2 > 0:
            return _whole(max(x1, -reach), max(y1, -reach), min(x2, width + reach), min(y2, height + reach))
    # Of a box far outside, as much as the picture is large.
    left, top = max(min(x1, 0.0), -width), max(min(y1, 0.0), -height)
    return _whole(left, top, min(max(x2, width), 2 * width), min(max(y2, height), 2 * height))


def _whole(*sides: float) -> _Window:
    x1, y1, x2, y2 = sides
    return int(np.floor(x1)), int(np.floor(y1)), int(np.ceil(x2)), int(np.ceil(y2))


def _cut_out(image: np.ndarray, window: _Window) -> Image.Image:
    x1, y1, x2, y2 = window
    sheet = Image.new("RGB", (x2 - x1, y2 - y1), (_GROUND,) * 3)
    sheet.paste(Image.fromarray(image), (-x1, -y1))
    return sheet
