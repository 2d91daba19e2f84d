"""What a format makes of a folder: one entry a picture, yet to be read, and the split that the set comes with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from odml.annotations.draft import Draft, Problem


@dataclass(frozen=True)
class Entry:
    """The annotation of one picture.

    ``where`` is what problems call the file it is in; ``read`` gives what it says, in any thread; ``beside`` are
    folders below that of the pictures, in which the picture is looked for first; ``side`` is "train", "val" or "test"
    in the split that the set comes with, None if that leaves the picture out or there is no such split.
    """

    where: str
    read: Callable[[], Draft]
    beside: tuple[Path, ...] = ()
    side: str | None = None


@dataclass(frozen=True)
class AnnotatedSet:
    """All entries, in the order of their files; what is wrong apart from them; what the ready split is made of.

    ``split_origin`` names the files or folders that say who trains and who validates, for people; it is "" where
    they do not, and then no entry has a side.
    """

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...] = ()
    split_origin: str = ""


def counted(files: Sequence[Path], noun: str) -> str:
    """Say how many files there are: "1 XML file", "2 XML files"."""
    return f"{len(files)} {noun}{'' if len(files) == 1 else 's'}"


def shown(file: Path, annotations: Path) -> str:
    """Give a file's path for people: from the name of the folder of annotations on, if it lies in it."""
    return file.relative_to(annotations.parent).as_posix() if file.is_relative_to(annotations.parent) else str(file)
