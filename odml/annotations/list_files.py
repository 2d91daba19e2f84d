"""Files that list the pictures of one side of a split: a path, a name or a stem a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from odml.annotations.draft import Problem
from odml.annotations.ready_split import read_list
from odml.errors import ConfigurationError
from odml.image_index import ImageIndex

_KIND = "split that does not fit"


def choose_lists(*, train_list: str, val_list: str, test_list: str) -> dict[str, Path]:
    """Give the list files by their sides; none where no list is given.

    Raises:
        ConfigurationError: only one of ``train_list`` and ``val_list`` is given, or a file is not there.
    """
    given = {"train": train_list, "val": val_list, "test": test_list}
    lists = {side: Path(file) for side, file in given.items() if file}
    if lists and not {"train", "val"} <= set(lists):
        missing = next(side for side in ("train", "val") if side not in lists)
        raise ConfigurationError(f"{missing}_list: is missing; give train_list and val_list, or none of the lists")
    for side, file in lists.items():
        if not file.is_file():
            raise ConfigurationError(f"{side}_list: there is no file {file}; give one with a picture a line")
    return lists


def read_lists(lists: Mapping[str, Path], index: ImageIndex) -> tuple[dict[Path, str], list[Problem]]:
    """Give each picture that the files list its side, and what is wrong with their lines.

    A path counts from the list's own folder, or from that of the pictures, or is absolute; of one that is not there
    the name counts. A line that names no picture, or several, or one that is on another list, is an error.

    Args:
        lists: a file for each of "train", "val" and "test" that has one.
        index: the pictures.
    """
    sides: dict[Path, str] = {}
    problems = [problem for side, file in lists.items() for problem in _deal(file, side, index, sides)]
    return sides, problems


def _deal(file: Path, side: str, index: ImageIndex, sides: dict[Path, str]) -> Iterator[Problem]:
    try:
        lines = read_list(file)
    except OSError as error:
        yield Problem(
            str(file), None, f"cannot be read ({error.strerror}); give a file with a picture a line", kind=_KIND
        )
        return
    for line, written in lines:
        if message := _put(written, side, index, sides, base=file.parent):
            yield Problem(str(file), None, f"line {line}: {written}: {message}", kind=_KIND, line=line)


def _put(written: str, side: str, index: ImageIndex, sides: dict[Path, str], *, base: Path) -> str:
    """Put the picture that a line names on its side, or say why not."""
    found = index.find_listed(written, base=base)
    if not found:
        return f"is no picture in {index.folder}; correct or remove the line"
    if len(found) > 1:
        return f"may be any of {', '.join(map(index.shown, found))}; write its folder too"
    if sides.setdefault(found[0], side) != side:
        return f"is on the list for {sides[found[0]]} too, and stays there; correct the lists"
    return ""
