"""YOLO: a txt file a picture with a line an object, class names in data.yaml; as Ultralytics and Darknet have it.

A line is ``class x_center y_center width height``: the class counts from 0, the rest is 0..1 of the upright picture.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from odml.annotations.contract import AnnotatedSet, Entry, counted, shown
from odml.annotations.draft import Draft, DraftObject, Problem
from odml.annotations.ready_split import read_list
from odml.annotations.yolo_description import find_description, read_description
from odml.image_index import ImageIndex
from odml.images import find_images

TITLE = "YOLO"
_VALUES = ("x_center", "y_center", "width", "height")
_Fault = tuple[str, str]
_TELLING = "put the label file in a folder of the same name"
_FOLDERS = ("images", "labels")  # by which the path of a picture and that of its label file differ


def recognise(annotations: Path, index: ImageIndex) -> str:
    """Say by which files annotations are known as YOLO, "" if they are not: txt files that begin as label files do."""
    files = _find_files(annotations)
    first = next((file for file in files if _begins_with_object(file)), None)
    if first is None:
        return ""
    description = find_description(annotations, index.folder)
    names = f", names in {shown(description, annotations)}" if description else ""
    return f"{counted(files, 'txt file')}, first of labels {shown(first, annotations)}{names}"


def read(annotations: Path, index: ImageIndex) -> AnnotatedSet:
    """Pair each picture with its label file, and read class names and split.

    A picture and its label file have the same path but for folders named "images" and "labels"; both may lie in one
    folder. A picture without a label file is background, as YOLO has it. The split is that of data.yaml's train, val
    and test, or, where it has none, of folders with such names. Classes of the same name are one class.

    Raises:
        AnnotationError: there are no class names, or they cannot be read.
    """
    description = read_description(annotations, index)
    root = annotations.parent if annotations.is_file() else annotations
    files = [file for file in _find_files(annotations) if file.resolve() not in description.lists]
    labels, strays = _pair(files, root, index)
    entries = []
    for image in index.images:
        name, side = image.relative_to(index.folder).as_posix(), description.sides.get(image)
        for file in labels.get(image, ()):
            entries.append(_entry(file, name, description.names, annotations, side))
        if image not in labels:
            entries.append(Entry(index.shown(image), partial(Draft, (name,)), side=side))
    entries += [_entry(file, _key(file.relative_to(root)), description.names, annotations, None) for file in strays]
    problems = [
        *description.problems,
        *_without_labels([image for image in index.images if image not in labels], index),
    ]
    return AnnotatedSet(tuple(entries), tuple(problems), description.split_origin)


def read_draft(file: Path, image_name: str, *, names: Mapping[int, str], where: str) -> Draft:
    """Read one label file.

    Args:
        file: the txt file; an empty one is a picture without objects.
        image_name: what its picture is looked for by.
        names: of the classes, by number.
        where: what problems call the file.
    """
    try:
        lines = read_list(file)
    except OSError as error:
        return Draft((image_name,), problems=(Problem(where, None, f"cannot be read ({error.strerror})"),))
    objects: list[DraftObject] = []
    problems: list[Problem] = []
    for number, (line, text) in enumerate(lines, start=1):
        drafted = _read_object(text.split(), number, line, names)
        if isinstance(drafted, DraftObject):
            objects.append(drafted)
        else:
            kind, message = drafted
            problems.append(Problem(where, number, f"line {line}: {message}", kind=kind, line=line))
    return Draft((image_name,), objects=tuple(objects), problems=tuple(problems), relative=True)


def _find_files(annotations: Path) -> list[Path]:
    """List the txt files that may hold labels: not those of class names, nor the lists of a development kit."""
    others = find_images(annotations.parent if annotations.is_file() else annotations)[1]
    return [
        file
        for file in others
        if file.suffix.lower() == ".txt" and file.name != "classes.txt" and "ImageSets" not in file.parts
    ]


def _pair(files: Sequence[Path], root: Path, index: ImageIndex) -> tuple[dict[Path, list[Path]], list[Path]]:
    """Give each picture its label files, more than one by mistake only, and the label files without a picture."""
    by_key: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_key[_key(file.relative_to(root))].append(file)
    labels = {image: by_key.pop(key) for image in index.images if (key := _key_of(image, index)) in by_key}
    strays = []
    for file in (file for left in by_key.values() for file in left):
        found = index.find((file.stem,))  # all labels in one folder, the pictures in several
        if len(found) == 1 and found[0] not in labels:
            labels[found[0]] = [file]
        elif _is_label_file(file):
            strays.append(file)
    return labels, strays


def _entry(file: Path, image_name: str, names: Mapping[int, str], annotations: Path, side: str | None) -> Entry:
    where = shown(file, annotations)
    return Entry(where, partial(read_draft, file, image_name, names=names, where=where), side=side, telling=_TELLING)


def _key_of(image: Path, index: ImageIndex) -> str:
    return _key(image.relative_to(index.folder))


def _key(path: Path) -> str:
    """Give what the paths of a picture and of its label file have in common."""
    return PurePosixPath(*(part for part in path.with_suffix("").parts if part not in _FOLDERS)).as_posix()


def _begins_with_object(file: Path) -> bool:
    lines = read_list(file)
    columns = lines[0][1].split() if lines else []
    return len(columns) > len(_VALUES) and all(map(_is_number, columns))


def _is_label_file(file: Path) -> bool:
    """Tell a label file, which may be empty, from notes and lists."""
    lines = read_list(file)
    return not lines or _is_number(lines[0][1].split()[0])


def _without_labels(images: Sequence[Path], index: ImageIndex) -> list[Problem]:
    if not images:
        return []
    message = (
        f"{len(images)} of {len(index)} pictures have no label file, first: {index.shown(images[0])}; "
        "they are background, as YOLO has it"
    )
    return [Problem(index.folder.name, None, message, "warning", "pictures without annotation", image=images[0])]


def _read_object(columns: Sequence[str], number: int, line: int, names: Mapping[int, str]) -> DraftObject | _Fault:
    """Give the object, or the kind and the message of what makes it unusable."""
    if len(columns) != len(_VALUES) + 1:
        polygon = "; polygons are not read" if len(columns) > 6 and len(columns) % 2 else ""
        message = f"has {len(columns)} columns, not the 5 of class {' '.join(_VALUES)}{polygon}; correct or remove it"
        return "box that is not four numbers", message
    if not all(map(_is_number, columns)):
        wrong = next(column for column in columns if not _is_number(column))
        return "box that is not four numbers", f"{wrong!r} is not a number; correct or remove it"
    if (class_number := float(columns[0])) not in names:
        return "object without class", f"class {columns[0]} has no name; correct it, or add its name to the names"
    written = dict(zip(_VALUES, columns[1:], strict=True))
    if outside := [f"{side} {value}" for side, value in written.items() if not 0 <= float(value) <= 1]:
        return "box outside the picture", f"{', '.join(outside)} is not within 0 to 1; correct or remove the box"
    x, y, width, height = (float(value) for value in written.values())
    if empty := [f"{side} {written[side]}" for side in ("width", "height") if float(written[side]) == 0]:
        return "box without area", f"{', '.join(empty)} is not greater than 0; remove or fix the box"
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    sides = tuple(f"{name} {value:g}" for name, value in zip(("left", "top", "right", "bottom"), box, strict=True))
    return DraftObject(number, names[int(class_number)], box, sides, line=line)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
