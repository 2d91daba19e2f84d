"""Lay the boxes that a file states on the picture that is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from odml.annotations.draft import Draft, DraftObject, Problem
from odml.images import turn_boxes
from odml.inspection.pictures import Picture
from odml.structures import Annotation

Fix = Literal["none", "clip", "drop"]

_TOLERANCE = 1.0  # pixels a box may stick out: tools that count from 0 write xmin 0
_SIX_DIGITS = 1e-6
_OUTSIDE = "box outside the picture"


@dataclass(frozen=True)
class Fitted:
    """The objects that can be used, ``boxes`` float32 [N, 4] pixels of the upright picture, and what was found."""

    objects: tuple[DraftObject, ...]
    boxes: np.ndarray
    problems: tuple[Problem, ...]

    def without(self, dropped: Sequence[int], problems: Sequence[Problem]) -> Fitted:
        """Leave out the objects at these indices, and add problems."""
        kept = [index for index in range(len(self.objects)) if index not in dropped]
        objects = tuple(self.objects[index] for index in kept)
        return Fitted(objects, self.boxes[kept], (*self.problems, *problems))

    def annotation(self, picture: Picture) -> Annotation:
        """Give what is left as the ground truth of the picture."""
        return Annotation(
            image=picture.path,
            width=picture.width,
            height=picture.height,
            boxes=self.boxes,
            names=tuple(item.name for item in self.objects),
            difficult=np.array([item.difficult for item in self.objects], np.bool_),
            truncated=np.array([item.truncated for item in self.objects], np.bool_),
            poses=tuple(item.pose for item in self.objects),
            crowd=np.array([item.crowd for item in self.objects], np.bool_),
        )


def fit(draft: Draft, picture: Picture, where: str, *, fix: Fix) -> Fitted:
    """Lay a draft's boxes on the upright picture, by the rule of odml.images.

    With ``fix`` an object that cannot be used is dropped, and a box that sticks out clipped or its object dropped, each
    told as "mended"; without it they are errors. Either way the object is not among those that can be used.
    """
    width, height = picture.width, picture.height
    draft = _in_pixels(draft, picture) if draft.relative else draft
    on_stored = picture.orientation >= 5 and width != height and draft.size == (height, width)
    fixes = fix != "none"
    problems = [drop(problem) if fixes and is_of_object(problem) else problem for problem in draft.problems]
    problems += _compare_sizes(draft, picture, where, on_stored=on_stored)
    drawn_on = (height, width) if on_stored else (width, height)
    objects, boxes = [], []
    for item in draft.objects:
        box, problem = _clip(item, where, width=drawn_on[0], height=drawn_on[1], fix=fix)
        problems += [problem] if problem else []
        if box is not None:
            objects.append(item)
            boxes.append(box)
    laid = np.array(boxes, np.float32).reshape(-1, 4)
    if on_stored:
        laid = _turned(laid, picture)
        problems = [_with_turned_box(problem, picture) for problem in problems]
    return Fitted(tuple(objects), laid, tuple(problems))


def is_of_object(problem: Problem) -> bool:
    """Say whether a problem makes one object, and not the whole file, unusable."""
    return problem.severity == "error" and problem.object is not None


def _in_pixels(draft: Draft, picture: Picture) -> Draft:
    """Lay relative boxes on the picture, and a side on the whole pixel that it is but for the rounding of its digits.

    Labelling tools draw on whole pixels and write six digits, of which a box's side adds up one and a half.
    """
    size = np.array([picture.width, picture.height] * 2)

    def laid(box: tuple[float, ...]) -> tuple[float, float, float, float]:
        sides = np.array(box) * size
        whole = np.rint(sides)
        x1, y1, x2, y2 = np.where(np.abs(sides - whole) <= _SIX_DIGITS * size, whole, sides).tolist()
        return x1, y1, x2, y2

    objects = tuple(replace(item, box=laid(item.box)) for item in draft.objects)
    problems = tuple(replace(each, box=laid(each.box)) if each.box else each for each in draft.problems)
    return replace(draft, objects=objects, problems=problems, relative=False)


def drop(problem: Problem) -> Problem:
    """Turn an object's problem into what was done about it: the object is dropped."""
    what = problem.message.rpartition("; ")[0] or problem.message
    return replace(problem, severity="mended", message=f"{what}; the object is dropped")


def _compare_sizes(draft: Draft, picture: Picture, where: str, *, on_stored: bool) -> list[Problem]:
    if draft.size is None or draft.size == (picture.width, picture.height):
        return []
    stated = f"states a picture of {draft.size[0]}x{draft.size[1]} pixels"
    if on_stored:
        message = f"{stated}, not turned upright by its EXIF orientation as viewers do; its boxes are turned with it"
    else:
        has = f"{picture.width}x{picture.height}"
        message = f"{stated}, but the picture has {has}; its boxes are taken as they are, look at them"
    return [Problem(where, None, message, "warning", "annotation of another size")]


def _clip(
    item: DraftObject, where: str, *, width: int, height: int, fix: Fix
) -> tuple[np.ndarray | None, Problem | None]:
    """Clip a box that sticks out by no more than the tolerance, or at all if that is the fix; else give None."""
    box = np.array(item.box)
    clipped = np.clip(box, 0, [width, height, width, height])
    out = np.abs(box - clipped)
    if not out.any():
        return clipped, None
    sides = ", ".join(side for side, distance in zip(item.written, out, strict=True) if distance)
    reaches = f"reaches outside the picture of {width}x{height} pixels"
    problem = Problem(where, item.number, "", kind=_OUTSIDE, line=item.line, box=item.box)
    has_area = bool((clipped[2:] > clipped[:2]).all())
    if has_area and out.max() <= _TOLERANCE:
        message = f"{reaches} by one at most ({sides}); the box is clipped"
        return clipped, replace(problem, message=message, severity="warning", kind="box outside by a pixel at most")
    if has_area and fix == "clip":
        return clipped, replace(problem, message=f"{reaches} ({sides}); the box is clipped", severity="mended")
    problem = replace(problem, message=f"{reaches} ({sides}); correct or remove the box")
    return None, problem if fix == "none" else drop(problem)


def _turned(boxes: np.ndarray, picture: Picture) -> np.ndarray:
    return turn_boxes(boxes, picture.orientation, width=picture.height, height=picture.width)


def _with_turned_box(problem: Problem, picture: Picture) -> Problem:
    if problem.box is None:
        return problem
    x1, y1, x2, y2 = _turned(np.array([problem.box], np.float32), picture)[0].tolist()
    return replace(problem, box=(x1, y1, x2, y2))
