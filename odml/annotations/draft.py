"""What an annotation file says, before anyone has looked at its picture; and what is wrong with it, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "note", "mended"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with an annotated set.

    ``file`` is shown as it is; ``object`` counts from 1 in the file, None if the problem is not one object's;
    ``message`` says what is wrong and what to do. An "error" makes its object, or without one its picture, unusable;
    a "warning" is told and read anyway; a "note" is harmless; what is "mended" was an error until it was mended.

    ``kind`` is what problems of the same sort are listed under; ``line`` is that of the object in its file, from 1;
    ``image`` and ``box`` are where to look, ``box`` as it was written, in pixels of the upright picture, even if it has
    no area or sticks out. They play no part in whether two problems are the same.
    """

    file: str
    object: int | None
    message: str
    severity: Severity = "error"
    kind: str = field(default="annotation that cannot be read", compare=False)
    line: int | None = field(default=None, compare=False)
    image: Path | None = field(default=None, compare=False)
    box: tuple[float, float, float, float] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return (
            f"{self.file}: {self.message}"
            if self.object is None
            else f"{self.file}: object {self.object}: {self.message}"
        )


@dataclass(frozen=True, slots=True)
class DraftObject:
    """One object as a file has it.

    ``number`` counts from 1 in the file; ``box`` is ``(x1, y1, x2, y2)``, half-open pixels of the picture it was
    drawn on, finite and with an area; ``written`` names its four sides as the file spells them, for messages:
    ``("xmin 12", "ymin 5", "xmax 30", "ymax 9")``; ``line`` is where it stands in the file, from 1, None if unknown.
    ``crowd`` is a group of objects in one box, as COCO marks it.
    """

    number: int
    name: str
    box: tuple[float, float, float, float]
    written: tuple[str, ...]
    difficult: bool = False
    truncated: bool = False
    pose: str = "Unspecified"
    crowd: bool = False
    line: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Draft:
    """What one annotation file says about one picture.

    ``image_names`` are the names, best first, by which the picture is to be looked for; ``size`` is the width and
    height that the file states, None if it does not. Objects that cannot be used are among ``problems`` only; a
    problem of severity "error" and without an object makes the whole file unusable. Boxes that are ``relative`` are not
    pixels but 0..1 of the upright picture's width and height.
    """

    image_names: tuple[str, ...]
    size: tuple[int, int] | None = None
    objects: tuple[DraftObject, ...] = ()
    problems: tuple[Problem, ...] = ()
    relative: bool = False
