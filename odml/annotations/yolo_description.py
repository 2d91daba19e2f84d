"""What a YOLO data set says of itself beside the label files: class names and split, in data.yaml or classes.txt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from odml.annotations.contract import shown
from odml.annotations.draft import Problem
from odml.annotations.list_files import read_lists
from odml.annotations.ready_split import first_named, read_list, settle
from odml.errors import AnnotationError
from odml.image_index import ImageIndex
from odml.structures import SIDES

_USUAL = ("data.yaml", "data.yml")
_KIND = "split that does not fit"


@dataclass(frozen=True)
class Description:
    """The names by the numbers that stand for them; each picture's side of the ready split, and what that is made of.

    ``lists`` are the text files that belong to the description, resolved: they are no label files.
    """

    names: dict[int, str]
    sides: dict[Path, str]
    split_origin: str
    problems: tuple[Problem, ...]
    lists: frozenset[Path]


def find_description(annotations: Path, images: Path) -> Path | None:
    """Find the YAML file: the one given, or in the folders given or beside them data.yaml, or one with names.

    Raises AnnotationError if several may be meant.
    """
    if annotations.is_file():
        return annotations
    for folder in _folders(annotations, images):
        files = [folder / name for name in _USUAL if (folder / name).is_file()]
        files = files or [file for file in sorted(folder.glob("*.y*ml")) if "names" in _mapping(file)]
        if len(files) > 1:
            raise AnnotationError(
                f"{annotations}: may go by {files[0]} or {files[1]}; give the right one as annotations="
            )
        if files:
            return files[0]
    return None


def read_description(annotations: Path, index: ImageIndex) -> Description:
    """Read class names and split.

    Names are those of the YAML file, or else the lines of classes.txt or a file such as obj.names.

    Raises:
        AnnotationError: there are no names, or what there is cannot be read.
    """
    file = find_description(annotations, index.folder)
    if file is None:
        list_file = next(_lists_of_names(annotations, index.folder), None)
        if list_file is None:
            raise AnnotationError(
                f"{annotations}: has numbers for classes, and no data.yaml, classes.txt or obj.names says their names; "
                "add a data.yaml with names"
            )
        names = dict(enumerate(name for _, name in read_list(list_file)))
        sides, origin = _sides_by_folder(index)
        return Description(names, sides, origin, (), frozenset([list_file.resolve()]))
    where, data = shown(file, annotations), _load(file)
    names = _names(data, where)
    problems = [*_count(data, names, where)]
    sides, lists, origin = _sides(data, file, where, index, problems)
    if not any(data.get(side) for side in SIDES):
        sides, origin = _sides_by_folder(index)
    return Description(names, sides, origin, tuple(problems), frozenset(lists))


def _folders(annotations: Path, images: Path) -> Iterable[Path]:
    root = annotations.parent if annotations.is_file() else annotations
    return dict.fromkeys((root, root.parent, images, images.parent))


def _lists_of_names(annotations: Path, images: Path) -> Iterator[Path]:
    for folder in _folders(annotations, images):
        yield from sorted([*folder.glob("classes.txt"), *folder.glob("*.names")])


def _mapping(file: Path) -> dict[Any, Any]:
    """Read a YAML file; one that is no mapping, or is none of ours, is empty."""
    try:
        data = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, OSError, UnicodeDecodeError):
        return {}
    return data if isinstance(data, dict) else {}


def _load(file: Path) -> dict[Any, Any]:
    try:
        data = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise AnnotationError(f"{file}: cannot be read as YAML ({reason}); repair the file") from error
    if not isinstance(data, dict) or not data.get("names"):
        raise AnnotationError(f"{file}: has no names; add names: with the name of each class, in the numbers' order")
    return data


def _names(data: dict[Any, Any], where: str) -> dict[int, str]:
    given = data["names"]
    items = dict(enumerate(given)) if isinstance(given, list) else given
    if not isinstance(items, dict):
        raise AnnotationError(f"{where}: names is {given!r}; it must be a list, or a mapping of numbers to names")
    for number, name in items.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise AnnotationError(f"{where}: names has {number!r}, which is no class number; count from 0")
        if isinstance(name, bool) or not isinstance(name, str | int | float) or not str(name).strip():
            raise AnnotationError(f"{where}: name {number} is {name!r}, which is no text; put it into quotes")
    return {number: str(name).strip() for number, name in items.items()}


def _count(data: dict[Any, Any], names: dict[int, str], where: str) -> Iterator[Problem]:
    if data.get("nc") not in (None, len(names)):
        message = f"nc is {data['nc']}, but there are {len(names)} names; the names are believed"
        yield Problem(where, None, message, "warning", kind="class names that do not fit")


def _sides(
    data: dict[Any, Any], file: Path, where: str, index: ImageIndex, problems: list[Problem]
) -> tuple[dict[Path, str], list[Path], str]:
    """Give each picture that train, val and test name its side, the list files among them, and what they are."""
    found = {side: _places(data, side, file, where, problems) for side in SIDES}
    members = {side: _members(places, index, problems) for side, places in found.items() if places}
    members = {side: images for side, images in members.items() if images}
    lists = [place for places in found.values() for place in places if place.is_file()]
    if members.get("train") and members.get("train") == members.get("val"):
        message = "train and val are the same pictures; they are no split"
        problems.append(Problem(where, None, message, "warning", kind=_KIND))
        return {}, lists, ""
    settled = settle(members)
    sides: dict[Path, str] = {}
    for part, side in settled.items():
        for image in members[part]:
            if sides.setdefault(image, side) != side:
                message = f"{index.shown(image)} is for {sides[image]} and for {side}; correct the split"
                problems.append(Problem(where, None, message, kind=_KIND, image=image))
    parts = ", ".join(f"{data[part]} for {side}" for part, side in settled.items())
    return sides, lists, f"{where} ({parts})" if settled else ""


def _places(data: dict[Any, Any], part: str, file: Path, where: str, problems: list[Problem]) -> list[Path]:
    """Give the folders and list files that a part of the split names and that are there."""
    values = data.get(part) or []
    places = []
    for value in values if isinstance(values, list) else [values]:
        place = next((place for place in _readings(data, str(value), file) if place.exists()), None)
        if place:
            places.append(place.resolve())
        else:
            message = f"{part} is {value}, which is not there; correct it"
            problems.append(Problem(where, None, message, "warning", kind=_KIND))
    return places


def _readings(data: dict[Any, Any], value: str, file: Path) -> list[Path]:
    """Give what a path may mean: below ``path``, or beside the file; Roboflow writes ../train for train beside it."""
    root = file.parent / str(data.get("path") or "")
    return [root / value, file.parent / value, file.parent / value.removeprefix("../")]


def _members(places: list[Path], index: ImageIndex, problems: list[Problem]) -> set[Path]:
    """Give the pictures in folders and list files."""
    folder, members = index.folder.resolve(), set()
    for place in places:
        if place.is_dir():
            members |= {
                image for image in index.images if (folder / image.relative_to(index.folder)).is_relative_to(place)
            }
        else:
            listed, faults = read_lists({"train": place}, index)
            members |= set(listed)
            problems += faults
    return members


def _sides_by_folder(index: ImageIndex) -> tuple[dict[Path, str], str]:
    """Take the split from folders named train, val and test."""
    parts = {image: first_named(reversed(image.relative_to(index.folder).parts[:-1])) for image in index.images}
    settled = settle({part for part in parts.values() if part})
    sides = {image: settled[part] for image, part in parts.items() if part in settled}
    names = ", ".join(f"{part} for {side}" for part, side in settled.items())
    return sides, f"folders of pictures ({names})" if settled else ""
