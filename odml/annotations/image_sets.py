"""``ImageSets/Main`` of a Pascal VOC development kit: which annotation files train, validate and test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from odml.annotations.contract import shown
from odml.annotations.draft import Problem
from odml.annotations.ready_split import read_list, settle
from odml.images import SUFFIXES

_PARTS = ("train", "trainval", "val", "test")
_KIND = "split that does not fit"


def read_image_sets(files: Sequence[Path], annotations: Path) -> tuple[dict[Path, str], list[Problem], str]:
    """Find the lists of the kit, or kits, that annotation files belong to, and give each file its side.

    A kit is the nearest folder above a file, up to the one that ``annotations`` is in, with ``ImageSets/Main``. Of the
    lists there only train, trainval, val and test count, by the rule of `odml.annotations.ready_split.settle`.

    Returns:
        The sides of the files that are listed, what is wrong with the lists, and their folders for people; the
        first and the last are empty where there is no list, or none to train on or to validate on.
    """
    kits: dict[Path, list[Path]] = {}
    for file in files:
        if kit := _kit_of(file, annotations):
            kits.setdefault(kit, []).append(file)
    lists = {(kit, part): _main(kit) / f"{part}.txt" for kit in kits for part in _PARTS}
    lists = {key: file for key, file in lists.items() if file.is_file()}
    settled = settle({part for _, part in lists})
    sides: dict[Path, str] = {}
    problems: list[Problem] = []
    for (kit, part), list_file in lists.items():
        if part in settled:
            problems += _deal(list_file, settled[part], _by_name(kits[kit], kit), sides, shown(list_file, annotations))
    origins = sorted({shown(_main(kit), annotations) for kit, part in lists if part in settled})
    parts = ", ".join(f"{part}.txt for {side}" for part, side in settled.items())
    return sides, problems, f"{', '.join(origins)} ({parts})" if settled else ""


def _main(kit: Path) -> Path:
    return kit / "ImageSets" / "Main"


def _kit_of(file: Path, annotations: Path) -> Path | None:
    above = [folder for folder in file.parents if folder.is_relative_to(annotations.parent)]
    return next((folder for folder in above if _main(folder).is_dir()), None)


def _by_name(files: Iterable[Path], kit: Path) -> dict[str, Path]:
    """Give the files by the names that a list may have for them: the stem, or with folders below Annotations."""
    names: dict[str, Path] = {}
    for file in files:
        below = file.relative_to(kit).with_suffix("")
        names |= {file.stem: file, PurePosixPath(*below.parts[1:]).as_posix(): file}
    return names


def _deal(
    list_file: Path, side: str, by_name: dict[str, Path], sides: dict[Path, str], where: str
) -> Iterable[Problem]:
    """Put the files that a list names on its side."""
    unknown = []
    for line, written in read_list(list_file):
        file = by_name.get(_name(written))
        if file is None:
            unknown.append((line, written))
        elif sides.setdefault(file, side) != side:
            message = f"line {line}: {written} is on the list for {sides[file]} too, and stays there; correct the lists"
            yield Problem(where, None, message, kind=_KIND, line=line)
    if unknown:
        line, written = unknown[0]
        message = f"{len(unknown)} names have no annotation file, first: line {line}: {written}; they are left out"
        yield Problem(where, None, message, "warning", kind=_KIND, line=line)


def _name(written: str) -> str:
    """Take the name out of a line, which may have a suffix, or -1, 0 or 1 after it as the lists of one class do."""
    name = re.sub(r"\s+(-1|0|1)$", "", written)
    path = PurePosixPath(name)
    return path.with_suffix("").as_posix() if path.suffix.lower() in (*SUFFIXES, ".xml") else name
