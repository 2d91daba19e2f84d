"""The values that people and files hold: label maps, annotations, detections.

Boxes here are pixels of the upright original picture, ``[x1, y1, x2, y2]``, half-open: a box that covers one
pixel at the origin is ``[0, 0, 1, 1]``. Class ids count from 1; 0 is background.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from odml.errors import RecordError


def _empty(*shape: int, dtype: type) -> np.ndarray:
    return np.zeros(shape, dtype)


@dataclass(frozen=True)
class LabelMap:
    """The names of the classes in the order of their ids: the first name has id 1.

    Raises ValueError if a name is empty or stands twice.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names) or not all(self.names):
            raise ValueError(f"names of a label map must be distinct and not empty: {list(self.names)}")

    def __len__(self) -> int:
        return len(self.names)

    def id_of(self, name: str) -> int:
        """Give the id, from 1, of a class; raise KeyError if the map does not have it."""
        try:
            return self.names.index(name) + 1
        except ValueError:
            raise KeyError(name) from None

    def name_of(self, class_id: int) -> str:
        """Give the name of a class id from 1 to ``len(self)``; raise KeyError for any other."""
        if not 1 <= class_id <= len(self.names):
            raise KeyError(class_id)
        return self.names[class_id - 1]

    @classmethod
    def of(cls, names: Iterable[str]) -> LabelMap:
        """Make the map of the distinct names, sorted."""
        return cls(tuple(sorted(set(names))))

    def to_pbtxt(self) -> str:
        """Write the map in the TF Object Detection API's ``labels.pbtxt`` form."""
        return "".join(
            f"item {{\n  id: {number}\n  name: '{_quoted(name)}'\n}}\n"
            for number, name in enumerate(self.names, start=1)
        )

    @classmethod
    def from_pbtxt(cls, text: str) -> LabelMap:
        """Read a ``labels.pbtxt``, its items in any order.

        ``display_name``, where an item has one, is ignored: annotations and records know ``name``.

        Raises:
            RecordError: no item, an item without id or name, or ids that are not 1 to N.
        """
        items = {}
        for body in re.findall(r"item\s*\{((?:[^{}\"']|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")*)\}", text):
            number = re.search(r"\bid\s*:\s*(\d+)", body)
            name = re.search(r"\bname\s*:\s*(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")", body)
            if not number or not name:
                raise RecordError(f"label map: an item has no id or no name: {' '.join(body.split())!r}")
            items[int(number[1])] = re.sub(r"\\(.)", r"\1", name[1] if name[1] is not None else name[2])
        if sorted(items) != list(range(1, len(items) + 1)) or not items:
            raise RecordError(f"label map: ids must be 1 to N without a gap, found {sorted(items)}")
        return cls(tuple(items[number] for number in sorted(items)))


def _quoted(name: str) -> str:
    return name.replace("\\", "\\\\").replace("'", "\\'")


@dataclass(frozen=True)
class Annotation:
    """A picture and the ground truth objects in it.

    ``boxes`` is float32 [N, 4], pixels of the upright picture, ``[x1, y1, x2, y2]`` half-open; ``names``,
    ``difficult``, ``truncated``, ``poses`` and ``crowd`` have N entries. A picture without objects has N = 0 and is
    background. A ``crowd`` is a group of objects in one box, as COCO marks it: nothing to learn, nor to be found.
    Omitted flags are False, omitted poses "Unspecified".

    Raises ValueError if the lengths differ.
    """

    image: Path
    width: int
    height: int
    boxes: np.ndarray = field(default_factory=lambda: _empty(0, 4, dtype=np.float32))
    names: tuple[str, ...] = ()
    difficult: np.ndarray | None = None
    truncated: np.ndarray | None = None
    poses: tuple[str, ...] | None = None
    crowd: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.names)
        if self.boxes.shape != (count, 4):
            raise ValueError(f"boxes must be [{count}, 4] for {count} names, not {list(self.boxes.shape)}")
        for flag in ("difficult", "truncated", "crowd"):
            if getattr(self, flag) is None:
                object.__setattr__(self, flag, _empty(count, dtype=np.bool_))
            elif getattr(self, flag).shape != (count,):
                raise ValueError(f"{flag} must be [{count}], not {list(getattr(self, flag).shape)}")
        if self.poses is None:
            object.__setattr__(self, "poses", ("Unspecified",) * count)
        elif len(self.poses) != count:
            raise ValueError(f"poses must have {count} entries, not {len(self.poses)}")


@dataclass(frozen=True)
class Detections:
    """What a detector found in one picture, best score first.

    ``boxes`` is float32 [N, 4], pixels of the upright picture, ``[x1, y1, x2, y2]`` half-open; ``scores`` float32
    [N], 0..1; ``classes`` int32 [N], ids from 1. Nothing found is N = 0.

    Raises ValueError if the lengths differ.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.classes.shape != (count,):
            raise ValueError(f"boxes {self.boxes.shape} and classes {self.classes.shape} do not fit {count} scores")

    def __len__(self) -> int:
        return len(self.scores)

    def best(self, *, score_threshold: float = 0.0, max_detections: int | None = None) -> Detections:
        """Keep the detections that score at least ``score_threshold``, at most ``max_detections`` of them."""
        kept = np.flatnonzero(self.scores >= score_threshold)[:max_detections]
        return Detections(self.boxes[kept], self.scores[kept], self.classes[kept])
