"""The values that people and files hold: label maps, annotations, detections.

Boxes here are pixels of the upright original picture, ``[x1, y1, x2, y2]``, half-open: a box that covers one
pixel at the origin is ``[0, 0, 1, 1]``. Class ids count from 1; 0 is background.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from odml.errors import RecordError

SIDES = ("train", "val", "test")
"""The sides of a split, in the order in which they are written and counted."""

LABELS_FILE = "labels.pbtxt"
"""The label map beside records."""

DIGEST_LENGTH = 32
"""Of the digest of a data set; MLflow keeps 36 characters."""


def _empty(*shape: int, dtype: type) -> np.ndarray:
    return np.zeros(shape, dtype)


@dataclass(frozen=True)
class LabelMap:
    """The names of the classes in the order of their ids: the first name has id 1.

    ``aliases`` are other names, with their ids, that records may have for the classes, and ``unused`` the ids that no
    record has: a map with gaps has a name for them all the same. Neither makes it another map.

    Raises ValueError if a name is empty or stands twice.
    """

    names: tuple[str, ...]
    aliases: tuple[tuple[str, int], ...] = field(default=(), compare=False)
    unused: tuple[int, ...] = field(default=(), compare=False)

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
        """Read a ``labels.pbtxt``, its items in any order and their fields too.

        A class keeps its id: one that no item has, below the largest, gets the name "unused ID". ``background`` may
        have the id 0, and is left out. A ``display_name`` other than the name becomes one of ``aliases``.

        Raises:
            RecordError: no item, an item without id or name, one of which stands twice, or an id out of 1 to 10000.
        """
        items: dict[int, str] = {}
        display_names: dict[str, int] = {}
        for body in _items_of(text):
            number, name = re.search(r"\bid\s*:\s*(-?\d+)", re.sub(_STRING, "", body)), _text_of("name", body)
            if not number or not name:
                raise RecordError(f"label map: an item has no id or no name: {' '.join(body.split())!r}")
            if (class_id := int(number[1])) == 0 and name == "background":
                continue
            if not 1 <= class_id <= _LARGEST_ID:
                raise RecordError(f"label map: {name!r} has the id {class_id}; ids must be from 1 to {_LARGEST_ID}")
            if class_id in items or name in items.values():
                raise RecordError(f"label map: two items have the id {class_id} or the name {name!r}; correct one")
            items[class_id] = name
            if display_name := _text_of("display_name", body):
                display_names.setdefault(display_name, class_id)
        if not items:
            raise RecordError("label map: has no item; give the one that the records were made with")
        names = tuple(items.get(class_id, f"unused {class_id}") for class_id in range(1, max(items) + 1))
        aliases = tuple((name, class_id) for name, class_id in display_names.items() if name not in names)
        return cls(names, aliases, unused=tuple(class_id for class_id in range(1, max(items)) if class_id not in items))


_LARGEST_ID = 10_000
_STRING = r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\""


def _items_of(text: str) -> list[str]:
    """Give what stands between the braces of each item, without comments and without blocks of its own."""
    text = re.sub(rf"({_STRING})|#[^\n]*", lambda found: found[1] or "", text)
    plain = rf"[^{{}}'\"]|{_STRING}"
    found = re.findall(rf"\bitem\s*:?\s*\{{((?:{plain}|\{{(?:{plain})*\}})*)\}}", text)
    return [re.sub(rf"({_STRING})|\{{(?:{plain})*\}}", lambda block: block[1] or "", body) for body in found]


def _text_of(key: str, body: str) -> str:
    """Give the text of a field of an item, "" if it has none."""
    found = re.search(rf"\b{key}\s*:\s*({_STRING})", body)
    return _ESCAPE.sub(_unescaped, found[1][1:-1].encode()).decode(errors="replace") if found else ""


# Protocol buffers' text format writes all that is not ASCII as the octal digits of its bytes.
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|x[0-9A-Fa-f]{1,2}|.)")


def _unescaped(found: re.Match[bytes]) -> bytes:
    escape = found[1]
    if escape[:1].isdigit():
        return bytes([int(escape, 8) & 255])
    return bytes([int(escape[1:], 16)]) if len(escape) > 1 else escape


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

    def of_classes(self, class_ids: Collection[int]) -> Detections:
        """Keep the detections of some classes; without an id, all."""
        if not class_ids:
            return self
        kept = np.isin(self.classes, list(class_ids))
        return Detections(self.boxes[kept], self.scores[kept], self.classes[kept])

    def best(self, *, score_threshold: float = 0.0, max_detections: int | None = None) -> Detections:
        """Keep the detections that score at least ``score_threshold``, at most ``max_detections`` of them."""
        kept = np.flatnonzero(self.scores >= score_threshold)[:max_detections]
        return Detections(self.boxes[kept], self.scores[kept], self.classes[kept])
