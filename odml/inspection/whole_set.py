"""What shows only when all pictures are seen together: spellings of one class, one picture under two names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from odml.annotation_table import AnnotationTable
from odml.annotations.draft import Problem
from odml.inspection.fitting import Fix
from odml.structures import SIDES, Annotation


@dataclass
class Spellings:
    """Counts the names of classes, to find those that differ in case or spaces only; "-" and "_" count as spaces."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, Problem] = field(default_factory=dict)

    def add(self, where: str, annotation: Annotation) -> None:
        """Count the objects of an annotation, which is in the file ``where``."""
        self.counts.update(annotation.names)
        for name in set(annotation.names) - self.first.keys():
            x1, y1, x2, y2 = annotation.boxes[annotation.names.index(name)].tolist()
            self.first[name] = Problem(
                where, None, "", kind="class with two spellings", image=annotation.image, box=(x1, y1, x2, y2)
            )

    @property
    def usual(self) -> dict[str, str]:
        """The name that most objects have, for each name that is another spelling of it."""
        alike = defaultdict(list)
        for name, _ in sorted(self.counts.items(), key=lambda item: (-item[1], item[0])):
            alike[_folded(name)].append(name)
        return {name: names[0] for names in alike.values() for name in names[1:]}

    def problems(self, *, fix: Fix) -> Iterator[Problem]:
        """Give a problem for each name but the most frequent one: a warning, or with ``fix`` what is done about it."""
        for name, usual in self.usual.items():
            objects = f"{self.counts[name]} and {self.counts[usual]} objects"
            differs = f"class {name!r} differs from {usual!r} only in case or spaces ({objects})"
            if fix == "none":
                message = f"{differs}; spell it alike, or they are two classes"
                yield replace(self.first[name], message=message, severity="warning")
            else:
                yield replace(self.first[name], message=f"{differs}; it is read as {usual!r}", severity="mended")


def find_doubles(table: AnnotationTable, firsts: np.ndarray, shown: Callable[[Path], str]) -> Iterator[Problem]:
    """Give a problem for each picture that shows the same pixels as an earlier one, or looks like one.

    Args:
        table: the pictures, sorted.
        firsts: the row of the first picture that each one looks like, int [N].
        shown: gives a picture's path for people.
    """
    digests = table.digest_column
    _, first_rows, places = np.unique(digests, return_index=True, return_inverse=True)
    same = first_rows[places]
    for row in np.flatnonzero(firsts != np.arange(len(table))).tolist():
        image = table.image_of(row)
        if same[row] != row:
            message = f"shows the same as {shown(table.image_of(int(same[row])))}; remove one, it counts double"
            yield Problem(shown(image), None, message, "warning", "picture that is there twice", image=image)
        else:
            first = shown(table.image_of(int(firsts[row])))
            message = f"looks like {first}, resized or compressed anew perhaps; remove one if it is"
            yield Problem(shown(image), None, message, "warning", "picture that looks like another", image=image)


def find_leaks(table: AnnotationTable, firsts: np.ndarray, shown: Callable[[Path], str]) -> Iterator[Problem]:
    """Give a problem for each picture that is not for training but shows what one does that is, or looks like it.

    Args:
        table: the pictures, sorted; those without a side are on none.
        firsts: the row of the first picture that each one looks like, int [N].
        shown: gives a picture's path for people.
    """
    digests, sides = table.digest_column, table.side_column
    train_rows = np.flatnonzero(sides == SIDES.index("train"))
    leaks = (sides > SIDES.index("train")) & np.isin(firsts, firsts[train_rows])
    trained: dict[int, list[int]] = defaultdict(list)
    for row in train_rows[np.isin(firsts[train_rows], firsts[leaks])].tolist():
        trained[int(firsts[row])].append(row)
    for row in np.flatnonzero(leaks).tolist():
        image, alike = table.image_of(row), trained[int(firsts[row])]
        same = next((other for other in alike if digests[other] == digests[row]), None)
        what = "looks like" if same is None else "shows the same as"
        trained_on = shown(table.image_of(alike[0] if same is None else same))
        message = f"is for {SIDES[sides[row]]}, but {what} {trained_on}, which is for train; remove one"
        yield Problem(shown(image), None, message, "warning", "picture in two splits", image=image)


def _folded(name: str) -> str:
    return "".join(name.replace("_", " ").replace("-", " ").split()).casefold()
