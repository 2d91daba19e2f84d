"""The files below a folder, millions of them, in little memory."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload


class Listing(Sequence[Path]):
    """Files, in the order of their paths, of which only the names are kept; a Path is made when it is asked for.

    Args:
        folder: the folder that all of them are in.
        names: their paths from it, "/" between folders, sorted as paths are: folder by folder.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder = folder
        self.names = list(names)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> Listing: ...

    def __getitem__(self, index: int | slice) -> Path | Listing:
        if isinstance(index, slice):
            return Listing(self.folder, self.names[index])
        return self.folder / self.names[index]

    def only(self, is_wanted: Callable[[str], bool]) -> Listing:
        """Give those whose names are wanted."""
        return Listing(self.folder, filter(is_wanted, self.names))

    def number_of(self, path: Path) -> int:
        """Give the place of a file, from 0; raise KeyError if it is not there."""
        name = path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else ""
        number = bisect_left(self.names, name.split("/"), key=lambda each: each.split("/"))
        if number == len(self.names) or self.names[number] != name:
            raise KeyError(path)
        return number


def list_files(folder: Path) -> Listing:
    """List the files below a folder, nested ones too; what is hidden (``.name``) or may not be entered is left out.

    Links to files are followed, links to folders are not. A folder that is not there has no files.
    """
    return Listing(folder, _names(folder, ""))


def _names(folder: Path, below: str) -> Iterator[str]:
    files: list[str] = []
    folders: set[str] = set()
    try:
        with os.scandir(folder / below) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.add(entry.name)
                elif entry.is_file(follow_symlinks=False) or Path(entry.path).is_file():
                    files.append(entry.name)
    except (PermissionError, FileNotFoundError, NotADirectoryError):
        return
    for name in sorted([*files, *folders]):
        if name in folders:
            yield from _names(folder, f"{below}{name}/")
        else:
            yield below + name
