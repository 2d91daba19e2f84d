"""What is suspicious about the boxes of one picture."""

from __future__ import annotations

import numpy as np

from odml.annotations.draft import Problem
from odml.boxes import iou
from odml.inspection.fitting import Fitted, Fix, drop
from odml.inspection.pictures import Picture

TINY = 3.0  # pixels: a side below it is a slip of the mouse, or nothing that a network could find
DOUBLE = 0.9  # IoU from which two boxes are one object drawn twice

_EDGE = 1.0  # pixels between a box and the picture's edge that still count as none


def check_objects(fitted: Fitted, picture: Picture, where: str, *, fix: Fix) -> Fitted:
    """Add warnings of tiny boxes, of boxes as large as the picture, and of objects that are drawn twice.

    With ``fix`` the second of two objects of one class is dropped.
    """
    problems = [problem for index in range(len(fitted.objects)) for problem in _look(fitted, index, picture, where)]
    dropped, doubles = _doubles(fitted, where, fix=fix)
    return fitted.without(dropped, [*problems, *doubles])


def _look(fitted: Fitted, index: int, picture: Picture, where: str) -> list[Problem]:
    box = fitted.boxes[index]
    width, height = (box[2:] - box[:2]).tolist()
    if min(width, height) < TINY:
        message = f"its box is only {width:g}x{height:g} pixels; redraw or remove it"
        return [_problem(fitted, index, where, message, "tiny box")]
    if np.abs(box - [0, 0, picture.width, picture.height]).max() <= _EDGE:
        message = "its box is the whole picture; make sure that this is one object"
        return [_problem(fitted, index, where, message, "box as large as the picture")]
    return []


def _doubles(fitted: Fitted, where: str, *, fix: Fix) -> tuple[list[int], list[Problem]]:
    """Give the indices of the objects to drop, and a problem for each object that is nearly an earlier one."""
    overlaps = np.triu(iou(fitted.boxes, fitted.boxes), k=1) if len(fitted.boxes) > 1 else np.zeros((0, 0))
    dropped: list[int] = []
    problems: dict[int, Problem] = {}
    for first, second in np.argwhere(overlaps >= DOUBLE).tolist():
        if first in dropped or second in problems:
            continue
        one, other = fitted.objects[first], fitted.objects[second]
        nearly = f"its box is nearly that of object {one.number} (IoU {overlaps[first, second]:.2f})"
        if one.name != other.name:
            message = f"{nearly}, but its class is {other.name}, not {one.name}; decide on one"
            problems[second] = _problem(fitted, second, where, message, "two classes for one box")
            continue
        problem = _problem(fitted, second, where, f"{nearly}, of the same class; remove one of them", "box drawn twice")
        if fix != "none":
            problem = drop(problem)
            dropped.append(second)
        problems[second] = problem
    return dropped, list(problems.values())


def _problem(fitted: Fitted, index: int, where: str, message: str, kind: str) -> Problem:
    item = fitted.objects[index]
    x1, y1, x2, y2 = fitted.boxes[index].tolist()
    return Problem(where, item.number, message, "warning", kind, line=item.line, box=(x1, y1, x2, y2))
