"""The split that a set comes with: which of its folders and lists are for training, validation and test."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from odml.structures import SIDES

_WORDS = {
    "train": "train",
    "training": "train",
    "trainval": "trainval",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def side_named(name: str) -> str | None:
    """Give "train", "trainval", "val" or "test" if a folder or file is named so, as in ``instances_val2017.json``.

    A name that has none of the words, or several, is None.
    """
    sides = {_WORDS[word] for word in re.split(r"[\W\d_]+", name.casefold()) if word in _WORDS}
    return sides.pop() if len(sides) == 1 else None


def settle(found: Collection[str]) -> dict[str, str]:
    """Say which side each part of a ready split is on, given the parts that there are.

    Validation needs a part of its own: where there is no "val", "test" is it. "trainval" counts only where there is
    no "train". Parts that are not on any side are left out; the result is empty where there is nothing to train on
    or nothing to validate on.
    """
    if {"train", "val"} <= set(found):
        return {side: side for side in SIDES if side in found}
    train = "train" if "train" in found else "trainval"
    return {train: "train", "test": "val"} if {train, "test"} <= set(found) else {}


def read_list(file: Path) -> list[tuple[int, str]]:
    """Read a file with a name a line: each with the number of its line, from 1; blank lines are passed over.

    Raises OSError if the file cannot be read.
    """
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def first_named(names: Iterable[str]) -> str | None:
    """Give the side that the first of these names which has one says."""
    return next((side for name in names if (side := side_named(name))), None)
