"""COCO: JSON files with all pictures, their objects and the classes, cocodataset.org's format of object detection."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from odml.annotations.contract import AnnotatedSet, Entry, counted, shown
from odml.annotations.draft import Draft, DraftObject, Problem
from odml.annotations.ready_split import first_named, settle
from odml.errors import AnnotationError
from odml.image_index import ImageIndex
from odml.images import find_images
from odml.structures import SIDES

TITLE = "COCO"
_LISTS = ("images", "annotations", "categories")
_HEAD = 1024 * 1024  # bytes of a file in which its keys are looked for
# COCO's own folder has these beside instances_*.json: no boxes, or the same people's once more.
_OTHER_TASKS = ("captions_", "image_info_", "panoptic_", "person_keypoints_", "stuff_")
_TELLING = "write its folder in file_name"
_SIDES = ("x", "y", "width", "height")


def recognise(annotations: Path, index: ImageIndex) -> str:
    """Say by which files a folder, or a file, is known as COCO, "" if it is not: JSON with COCO's keys."""
    files = [file for file in _find_files(annotations) if _has_keys(file)]
    return f"{counted(files, 'JSON file')} with COCO's keys, first {shown(files[0], annotations)}" if files else ""


def read(annotations: Path, index: ImageIndex) -> AnnotatedSet:
    """Read a JSON file, or all those below a folder that have COCO's keys.

    If the names of the files or of their folders say what each is for (``instances_train2017.json``,
    ``valid/_annotations.coco.json``), they are the ready split. Categories of the same name are one class.

    Raises AnnotationError if there is no JSON file.
    """
    files = _find_files(annotations)
    files = [file for file in files if _has_keys(file)] or files
    if not files:
        raise AnnotationError(f"{annotations}: holds no JSON file; give a COCO file or the folder of some")
    found = {file: _part(file, annotations) for file in files}
    settled = settle({part for part in found.values() if part})
    # A file for none of the sides holds pictures of theirs once more, as train.json and val.json are in trainval.json.
    sides = {file: settled.get(part or "") for file, part in found.items() if not settled or part in settled}
    entries: list[Entry] = []
    problems: list[Problem] = []
    for file, side in sides.items():
        content = _read(file, shown(file, annotations))
        problems += content.problems
        entries += _entries(content, _beside(file, annotations), side)
    named = sorted((SIDES.index(side), file) for file, side in sides.items() if side)
    names = [f"{shown(file, annotations)} for {SIDES[number]}" for number, file in named]
    names += [f"{shown(file, annotations)} passed over" for file in files if file not in sides]
    return AnnotatedSet(
        tuple(entries),
        tuple(problems),
        ", ".join(names),
        unannotated='are not in "images" of a COCO file',
        background="one that is there without objects is background",
    )


def _find_files(annotations: Path) -> list[Path]:
    files = [annotations] if annotations.is_file() else find_images(annotations)[1]
    return [file for file in files if file.suffix.lower() == ".json" and not file.name.startswith(_OTHER_TASKS)]


def _has_keys(file: Path) -> bool:
    with file.open("rb") as stream:
        head = stream.read(_HEAD)
    return any(re.search(rb'"%b"\s*:\s*\[' % key.encode(), head) for key in _LISTS)


def _part(file: Path, annotations: Path) -> str | None:
    """Give the part of a ready split that the name of a file, or else of a folder it is in, says."""
    folders = file.relative_to(annotations).parts[:-1] if file != annotations else ()
    return first_named((file.stem, *reversed(folders)))


def _beside(file: Path, annotations: Path) -> tuple[Path, ...]:
    """Give the folders, below that of the pictures, in which a file's pictures are likely to be."""
    folder = file.relative_to(annotations).parent if file != annotations else Path()
    words = [word for word in re.split(r"[^A-Za-z0-9]+", file.stem) if first_named([word])]
    named = [Path(word.rstrip("0123456789"), *rest) for word in words for rest in ((), ("images",))]
    return (folder, folder / "images", *(Path(word) for word in words), *named)


@dataclass
class _Content:
    """What a JSON file holds that can be read, by the ids that it uses; and what cannot."""

    where: str
    images: dict[Any, dict[str, Any]] = field(default_factory=dict)
    names: dict[Any, str] = field(default_factory=dict)
    objects: dict[Any, list[tuple[int, dict[str, Any]]]] = field(default_factory=lambda: defaultdict(list))
    problems: list[Problem] = field(default_factory=list)

    def tell(self, message: str, *, number: int | None = None, kind: str = "annotation that cannot be read") -> None:
        self.problems.append(Problem(self.where, number, message, kind=kind))


def _read(file: Path, where: str) -> _Content:
    content = _Content(where)
    try:
        data = json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        reason = f"{error.msg}, column {error.colno}"
        content.tell(f"line {error.lineno}: cannot be read as JSON ({reason}); repair or remove the file")
        return content
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        content.tell(f"cannot be read as JSON ({error}); repair or remove the file")
        return content
    if missing := [key for key in _LISTS if not isinstance(data, dict) or not isinstance(data.get(key), list)]:
        content.tell(f'has no list "{missing[0]}"; give COCO files of object detection only')
        return content
    _take_categories(content, data["categories"])
    _take_images(content, data["images"])
    _take_objects(content, data["annotations"])
    return content


def _take_categories(content: _Content, categories: list[Any]) -> None:
    for number, each in enumerate(categories, start=1):
        number_of = f'number {number} of "categories"'
        if not _is_record(each) or not isinstance(each.get("name"), str) or not each["name"].strip():
            content.tell(f"{number_of}: has no id or no name; add both")
        elif each["id"] in content.names:
            content.tell(f"{number_of}: has the id {each['id']!r} of another category; give it one of its own")
        else:
            content.names[each["id"]] = each["name"].strip()


def _take_images(content: _Content, images: list[Any]) -> None:
    for number, each in enumerate(images, start=1):
        number_of = f'number {number} of "images"'
        if not _is_record(each) or not isinstance(each.get("file_name"), str) or not each["file_name"]:
            content.tell(f"{number_of}: has no id or no file_name; add both")
        elif each["id"] in content.images:
            content.tell(f"{number_of}: has the id {each['id']!r} of another picture; give it one of its own")
        else:
            content.images[each["id"]] = each


def _take_objects(content: _Content, objects: list[Any]) -> None:
    for number, each in enumerate(objects, start=1):
        image_id = each.get("image_id") if isinstance(each, dict) else None
        if not _is_id(image_id) or image_id not in content.images:
            what = f'{_named(each)}has the image_id {image_id!r}, which "images" does not have; correct or remove it'
            content.tell(what, number=number, kind="object of an unknown picture")
        else:
            if each.get("bbox"):
                each.pop("segmentation", None)  # most of a file, and of no use here
            content.objects[image_id].append((number, each))


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and _is_id(value.get("id"))


def _is_id(value: Any) -> bool:
    return isinstance(value, int | float | str)


def _entries(content: _Content, beside: tuple[Path, ...], side: str | None) -> list[Entry]:
    return [
        Entry(
            content.where,
            partial(_draft, image, content.objects.get(image_id, ()), content.names, content.where),
            beside,
            side,
            _TELLING,
        )
        for image_id, image in content.images.items()
    ]


def _draft(
    image: dict[str, Any], objects: Sequence[tuple[int, dict[str, Any]]], names: dict[Any, str], where: str
) -> Draft:
    drafted: list[DraftObject] = []
    problems: list[Problem] = []
    for number, each in objects:
        box, faults = _box(each)
        if not _is_id(each.get("category_id")) or each["category_id"] not in names:
            message = f'has the category_id {each.get("category_id")!r}, which "categories" does not have; correct it'
            faults = [("object without class", message), *faults]
        if faults or box is None:
            named = f"{_named(each)}of {image['file_name']} "
            problems += [Problem(where, number, named + message, kind=kind, box=box) for kind, message in faults]
        else:
            drafted.append(_object(each, number, names[each["category_id"]], box))
    return Draft((image["file_name"].replace("\\", "/"),), _size(image), tuple(drafted), tuple(problems))


def _object(each: dict[str, Any], number: int, name: str, box: tuple[float, float, float, float]) -> DraftObject:
    x, y, width, height = each["bbox"]
    given = each.get("attributes")
    attributes = given if isinstance(given, dict) else {}
    return DraftObject(
        number=number,
        name=name,
        box=box,
        written=(f"x {x}", f"y {y}", f"x + width {x + width:g}", f"y + height {y + height:g}"),
        # COCO itself has neither; CVAT and Datumaro write them so.
        difficult=bool(attributes.get("difficult")),
        truncated=bool(attributes.get("truncated")),
        crowd=bool(each.get("iscrowd")),
    )


def _box(each: dict[str, Any]) -> tuple[tuple[float, float, float, float] | None, list[tuple[str, str]]]:
    """Give the box as half-open pixels, if it is four numbers, and what is wrong with it."""
    values = each.get("bbox")
    if not values and each.get("segmentation"):
        return None, [("object without box", "has a polygon or mask but no bbox; write its bbox")]
    if not values:
        return None, [("object without box", "has no bbox; write it or remove the object")]
    if not isinstance(values, list) or len(values) != len(_SIDES) or not all(map(_is_number, values)):
        message = f"has the bbox {json.dumps(values)[:80]}, which is not four numbers x, y, width, height; correct it"
        return None, [("box that is not four numbers", message)]
    x, y, width, height = values
    box = (float(x), float(y), float(x + width), float(y + height))
    lengths = zip(_SIDES[2:], values[2:], strict=True)
    empty = [f"{side} {value} is not greater than 0" for side, value in lengths if value <= 0]
    return box, [("box without area", f"has a box whose {', '.join(empty)}; remove or fix the box")] if empty else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    return (int(width), int(height)) if _is_number(width) and _is_number(height) and width and height else None


def _named(each: Any) -> str:
    """Name an object by its id, where it has one, for a message."""
    return f"id {each['id']} " if _is_record(each) else ""
