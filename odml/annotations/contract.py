"""What a format makes of a folder: one entry a picture, yet to be read, and the split that the set comes with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, overload

from odml.annotations.draft import Draft, Problem

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Entry:
    """The annotation of one picture.

    ``where`` is what problems call the file it is in; ``read`` gives what it says, in any thread or process, to which
    it can be sent; ``beside`` are folders below that of the pictures, in which the picture is looked for first;
    ``side`` is "train", "val" or "test" in the split that the set comes with, None if that leaves the picture out or
    there is no such split; ``telling`` says how one of several pictures of its name can be meant.
    """

    where: str
    read: Callable[[], Draft]
    beside: tuple[Path, ...] = ()
    side: str | None = None
    telling: str = "write its folder in <filename>"


class Entries(Sequence[Entry]):
    """An entry for each of some items, made when it is asked for."""

    def __init__(self, items: Sequence[_Item], entry_of: Callable[[_Item], Entry]) -> None:
        self._items, self._entry_of = items, entry_of

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...

    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        if isinstance(index, slice):
            return [self._entry_of(item) for item in self._items[index]]
        return self._entry_of(self._items[index])


@dataclass(frozen=True)
class AnnotatedSet:
    """All entries, in the order of their files; what is wrong apart from them; what the ready split is made of.

    The entries may be made only when they are asked for (`Entries`): there can be millions of them.

    ``split_origin`` names the files or folders that say who trains and who validates, for people; it is "" where
    they do not, and then no entry has a side. ``unannotated`` says what the pictures without an entry lack, and
    ``background`` how a picture is made background, in the words of the format.
    """

    entries: Sequence[Entry]
    problems: tuple[Problem, ...] = ()
    split_origin: str = ""
    unannotated: str = "have no annotation file"
    background: str = "an annotation file without objects makes a picture background"


def counted(files: Sequence[Path], noun: str) -> str:
    """Say how many files there are: "1 XML file", "2 XML files"."""
    return f"{len(files)} {noun}{'' if len(files) == 1 else 's'}"


def shown(file: Path, annotations: Path) -> str:
    """Give a file's path for people: from the name of the folder of annotations on, if it lies in it."""
    return file.relative_to(annotations.parent).as_posix() if file.is_relative_to(annotations.parent) else str(file)
