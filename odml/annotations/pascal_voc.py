"""Pascal VOC: one XML file a picture, as the VOC2008 development kit and labelling tools such as labelImg write it."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from lxml import etree

from odml.annotations.contract import AnnotatedSet, Entries, Entry, counted, shown
from odml.annotations.draft import Draft, DraftObject, Problem
from odml.annotations.image_sets import read_image_sets
from odml.boxes import voc_to_xyxy
from odml.errors import AnnotationError
from odml.image_index import ImageIndex
from odml.listing import Listing, list_files

TITLE = "Pascal VOC"
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_HEAD = 4096  # bytes of a file in which its root is looked for


def recognise(annotations: Path, index: ImageIndex) -> str:
    """Say by which files a folder is known as Pascal VOC, "" if it is not: XML files with the root <annotation>."""
    files = find_files(annotations)
    first = next((file for file in files if re.search(rb"<annotation[\s>]", _head(file))), None)
    return f"{counted(files, 'XML file')}, first {shown(first, annotations)}" if first else ""


def read(annotations: Path, index: ImageIndex) -> AnnotatedSet:
    """List the XML files below a folder, and the split that ``ImageSets/Main`` beside or below it has.

    Raises AnnotationError if there is no XML file.
    """
    files = find_files(annotations)
    if not files:
        raise AnnotationError(f"{annotations}: holds no annotation file; give the folder of Pascal VOC XML files")
    sides, problems, origin = read_image_sets(files, annotations)
    entries = Entries(files, lambda file: _entry(file, annotations, sides.get(file)))
    return AnnotatedSet(entries, tuple(problems), origin)


def _entry(file: Path, annotations: Path, side: str | None) -> Entry:
    where, folder = shown(file, annotations), file.relative_to(annotations).parent
    beside = (folder, folder.parent / "JPEGImages")  # the second as in a development kit
    return Entry(where, partial(read_draft, file, where=where), beside, side)


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(_HEAD)


def find_files(folder: Path) -> Listing:
    """List the XML files below a folder, nested ones too, sorted; hidden ones are left out."""
    return list_files(folder).only(lambda name: PurePosixPath(name).suffix.lower() == ".xml")


def read_draft(file: Path, *, where: str) -> Draft:
    """Read one XML file.

    Only the objects directly below the root are read, and of each only its own box: the ``<part>`` boxes inside
    (head, hand, foot) are no objects of the set. A missing ``difficult``, ``truncated`` or ``pose`` has its default.

    Args:
        file: the XML file.
        where: what problems call it.
    """
    try:
        root = etree.fromstring(file.read_bytes(), _parser())
    except (etree.XMLSyntaxError, OSError) as error:
        reason = error.msg if isinstance(error, etree.XMLSyntaxError) else error.strerror
        return _unusable(file, where, f"cannot be read as XML ({reason}); repair or remove the file")
    if root.tag != "annotation":
        return _unusable(file, where, f"begins with <{root.tag}>, not <annotation>; give Pascal VOC files only")
    objects, problems = [], []
    for number, element in enumerate(root.findall("object"), start=1):
        drafted = _read_object(element, number, where)
        if isinstance(drafted, DraftObject):
            objects.append(drafted)
        else:
            problems += drafted
    return Draft(_image_names(root, file), _size(root), tuple(objects), tuple(problems))


def _parser() -> etree.XMLParser:
    # Files come from strangers: no entity is expanded, nothing is fetched.
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True
    )


def _unusable(file: Path, where: str, message: str) -> Draft:
    return Draft((file.stem,), problems=(Problem(where, None, message),))


def _image_names(root: etree._Element, file: Path) -> tuple[str, ...]:
    stated = _text(root, "filename").replace("\\", "/")
    return (stated, file.stem) if stated else (file.stem,)


def _size(root: etree._Element) -> tuple[int, int] | None:
    try:
        return int(float(_text(root, "size/width"))), int(float(_text(root, "size/height")))
    except (ValueError, OverflowError):
        return None


def _read_object(element: etree._Element, number: int, where: str) -> DraftObject | list[Problem]:
    """Give the object, or what makes it unusable."""
    name, sides = _text(element, "name"), {side: _text(element, f"bndbox/{side}") for side in _SIDES}
    box = _box(sides)
    messages = [] if name else [("object without class", "has no <name>; name its class or remove it")]
    if element.find("bndbox") is None:
        messages.append(("object without box", "has no <bndbox>; draw its box or remove it"))
    elif faults := _faults(sides):
        kind = "box without area" if box else "box that is not four numbers"
        messages.append((kind, f"{', '.join(faults)}; remove or fix the box"))
    if messages or box is None:
        line = element.sourceline
        return [Problem(where, number, message, kind=kind, line=line, box=box) for kind, message in messages]
    return DraftObject(
        number=number,
        name=name,
        box=box,
        written=tuple(f"{side} {text}" for side, text in sides.items()),
        difficult=_flag(element, "difficult"),
        truncated=_flag(element, "truncated"),
        pose=_text(element, "pose") or "Unspecified",
        line=element.sourceline,
    )


def _box(sides: dict[str, str]) -> tuple[float, float, float, float] | None:
    if not all(map(_is_finite, sides.values())):
        return None
    x1, y1, x2, y2 = voc_to_xyxy(np.array([[float(text) for text in sides.values()]]))[0].tolist()
    return x1, y1, x2, y2


def _faults(sides: dict[str, str]) -> list[str]:
    """Say what is wrong with the sides of a box."""
    no_numbers = [f"{side} {text!r} is not a number" for side, text in sides.items() if not _is_finite(text)]
    return no_numbers or [
        f"{high} {sides[high]} is not greater than {low} {sides[low]}"
        for low, high in (("xmin", "xmax"), ("ymin", "ymax"))
        if float(sides[high]) <= float(sides[low])
    ]


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _flag(element: etree._Element, tag: str) -> bool:
    text = _text(element, tag).lower()
    return text in ("true", "yes") or (_is_finite(text) and float(text) > 0)


def _text(element: etree._Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
