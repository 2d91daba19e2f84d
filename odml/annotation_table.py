"""Many annotations in little memory: columns instead of objects, some 90 bytes a picture and 20 an object."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import NamedTuple, TypeVar, overload

import numpy as np

from odml.listing import Listing
from odml.structures import SIDES, Annotation

_DIGEST_BYTES = _LOOK_BYTES = 32
_NO_SIDE = -1
_Value = TypeVar("_Value")


class _Kind(NamedTuple):
    """All of an object but its box: most objects of a set are of a few kinds."""

    name: str
    pose: str
    difficult: bool
    truncated: bool
    crowd: bool


class AnnotationTable(Sequence[Annotation]):
    """Annotations of pictures, and what each picture shows and is for; an Annotation is made when it is asked for.

    Args:
        images: the pictures by their numbers; those without an annotation are allowed too.
    """

    def __init__(self, images: Listing) -> None:
        self.images = images
        self._numbers, self._sides = array("I"), array("b")
        self._sizes, self._ends = array("I"), array("Q")  # width and height; objects up to and with this row's
        self._digests, self._looks = bytearray(), bytearray()
        self._boxes, self._kinds = array("f"), array("I")  # four sides, and a place in the list of kinds, an object
        self._known: dict[_Kind, int] = {}
        self._listed: list[_Kind] = []

    def append(
        self, annotation: Annotation, *, number: int, digest: str = "", look: bytes = b"", side: str | None = None
    ) -> None:
        """Add a row.

        Args:
            annotation: its picture is the one with the number.
            number: of the picture in ``images``.
            digest: of what the picture shows, 64 hexadecimal digits; "" is none.
            look: a hash of what it looks like, 32 bytes; b"" is none.
            side: "train", "val" or "test", None if the picture has no side of a split.
        """
        assert annotation.poses is not None  # an Annotation fills them in
        flags = (annotation.difficult, annotation.truncated, annotation.crowd)
        columns = (annotation.names, annotation.poses, *(np.asarray(flag).tolist() for flag in flags))
        self._kinds.extend(self._place_of(_Kind(*each)) for each in zip(*columns, strict=True))
        self._boxes.frombytes(np.ascontiguousarray(annotation.boxes, np.float32).tobytes())
        self._ends.append(len(self._kinds))
        self._sizes.extend((annotation.width, annotation.height))
        self._numbers.append(number)
        self._digests += bytes.fromhex(digest).rjust(_DIGEST_BYTES, b"\0")
        self._looks += look.ljust(_LOOK_BYTES, b"\0")
        self._sides.append(SIDES.index(side) if side else _NO_SIDE)

    def _place_of(self, kind: _Kind) -> int:
        place = self._known.setdefault(kind, len(self._listed))
        if place == len(self._listed):
            self._listed.append(kind)
        return place

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Annotation: ...

    @overload
    def __getitem__(self, index: slice) -> AnnotationTable: ...

    def __getitem__(self, index: int | slice) -> Annotation | AnnotationTable:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        row = range(len(self))[index]
        first, end = self._ends[row - 1] if row else 0, self._ends[row]
        kinds = [self._listed[place] for place in self._kinds[first:end]]
        return Annotation(
            image=self.image_of(row),
            width=self._sizes[2 * row],
            height=self._sizes[2 * row + 1],
            boxes=np.frombuffer(self._boxes[4 * first : 4 * end], np.float32).reshape(-1, 4),
            names=tuple(kind.name for kind in kinds),
            difficult=np.array([kind.difficult for kind in kinds], np.bool_),
            truncated=np.array([kind.truncated for kind in kinds], np.bool_),
            poses=tuple(kind.pose for kind in kinds),
            crowd=np.array([kind.crowd for kind in kinds], np.bool_),
        )

    @property
    def numbers(self) -> np.ndarray:
        """The numbers of the rows' pictures, uint32 [N]."""
        return np.frombuffer(self._numbers, np.uint32)

    @property
    def digest_column(self) -> np.ndarray:
        """What the rows' pictures show, as bytes that can be compared, S32 [N]."""
        return np.frombuffer(bytes(self._digests), f"S{_DIGEST_BYTES}")

    @property
    def look_column(self) -> np.ndarray:
        """What the rows' pictures look like, uint8 [N, 32]; all 0 where that is not known."""
        return np.frombuffer(bytes(self._looks), np.uint8).reshape(-1, _LOOK_BYTES)

    @property
    def side_column(self) -> np.ndarray:
        """The places of the rows' sides in ``SIDES``, -1 for none, int8 [N]."""
        return np.frombuffer(self._sides, np.int8)

    def column(self, values: Sequence[_Value] | np.ndarray) -> Mapping[Path, _Value]:
        """Give the values of the rows [N] by their pictures. The rows must be sorted."""
        return _Column(self, range(len(self)), values.__getitem__)

    @property
    def digests(self) -> Mapping[Path, str]:
        """What each picture shows: two with the same pixels have the same digest. The rows must be sorted."""
        return _Column(self, range(len(self)), self._digest)

    @property
    def sides(self) -> Mapping[Path, str]:
        """The side of each picture that has one. The rows must be sorted."""
        rows = np.flatnonzero(self.side_column != _NO_SIDE).astype(np.uint32)
        return _Column(self, rows, lambda row: SIDES[self._sides[row]])

    def _digest(self, row: int) -> str:
        return self._digests[row * _DIGEST_BYTES : (row + 1) * _DIGEST_BYTES].hex()

    @property
    def objects(self) -> int:
        """How many objects there are in all."""
        return len(self._kinds)

    def image_of(self, row: int) -> Path:
        """Give the picture of a row."""
        return self.images[self._numbers[row]]

    def row_of(self, image: Path) -> int:
        """Give the row of a picture; raise KeyError if there is none. The rows must be sorted."""
        number = self.images.number_of(image)
        row = bisect_left(self._numbers, number)
        if row == len(self) or self._numbers[row] != number:
            raise KeyError(image)
        return row

    def take(self, rows: np.ndarray) -> AnnotationTable:
        """Give a table of these rows [M], in their order."""
        table = AnnotationTable(self.images)
        for row in rows.tolist():
            first, end = self._ends[row - 1] if row else 0, self._ends[row]
            table._kinds.extend(self._kinds[first:end])
            table._boxes.extend(self._boxes[4 * first : 4 * end])
            table._ends.append(len(table._kinds))
            table._sizes.extend(self._sizes[2 * row : 2 * row + 2])
            table._numbers.append(self._numbers[row])
            table._digests += self._digests[row * _DIGEST_BYTES : (row + 1) * _DIGEST_BYTES]
            table._looks += self._looks[row * _LOOK_BYTES : (row + 1) * _LOOK_BYTES]
            table._sides.append(self._sides[row])
        table._known, table._listed = dict(self._known), list(self._listed)
        return table

    def sorted(self) -> AnnotationTable:
        """Give the table with the rows in the order of their pictures."""
        numbers = self.numbers
        return self if (numbers[1:] > numbers[:-1]).all() else self.take(np.argsort(numbers))

    def renamed(self, names: Mapping[str, str]) -> AnnotationTable:
        """Give the table with other names for some classes; the columns are those of this one."""
        table = copy(self)
        table._listed = [kind._replace(name=names.get(kind.name, kind.name)) for kind in self._listed]
        table._known = {kind: place for place, kind in enumerate(table._listed)}
        return table

    def with_sides(self, sides: Mapping[Path, str]) -> AnnotationTable:
        """Give the table with these sides for its pictures, and none for the others."""
        table = copy(self)
        given = (sides.get(self.images[number]) for number in self._numbers)
        table._sides = array("b", (SIDES.index(side) if side else _NO_SIDE for side in given))
        return table


def table_of(annotations: Iterable[Annotation]) -> AnnotationTable:
    """Give a table of annotations, in their order, that holds no more than they do."""
    paths = Listing(Path(), ())
    table = AnnotationTable(paths)
    for number, annotation in enumerate(annotations):
        paths.names.append(str(annotation.image))
        table.append(annotation, number=number)
    return table


class _Column(Mapping[Path, _Value]):
    """One value for each of some rows, by their pictures."""

    def __init__(
        self, table: AnnotationTable, rows: Sequence[int] | np.ndarray, value_of: Callable[[int], _Value]
    ) -> None:
        self._table, self._rows, self._value_of = table, rows, value_of

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Path]:
        return map(self._table.image_of, self._rows)

    def __getitem__(self, image: Path) -> _Value:
        row = self._table.row_of(image)
        place = bisect_left(self._rows, row)
        if place == len(self._rows) or self._rows[place] != row:
            raise KeyError(image)
        return self._value_of(row)
