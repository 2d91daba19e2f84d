"""Look at every annotation and its picture before anything is made of them: problems, and what remains usable.

What is harmless is read and told as a warning; what is not is an error. Nothing here raises for what files hold.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from odml.annotations import FORMATS
from odml.annotations.draft import Draft, DraftObject, Problem
from odml.errors import AnnotationError, ImageError
from odml.image_index import ImageIndex
from odml.images import find_images, orientation_of, read_image, turn_boxes
from odml.parallel import parallel_map
from odml.progress import progress
from odml.structures import Annotation

_log = logging.getLogger(__name__)
_TOLERANCE = 1.0  # pixels a box may stick out: tools that count from 0 write xmin 0
_NONE_LEFT = "none of its objects can be used; its picture is left out, as it would wrongly count as background"


@dataclass(frozen=True)
class Inspection:
    """What an annotated set holds.

    ``annotations`` are the usable ones, sorted by picture, without objects that cannot be used; ``problems`` are in
    the order of the files. Because of errors, ``dropped_files`` annotation files, and with them their pictures, are
    not among the annotations, and of the pictures that are, ``dropped_objects`` objects are not.
    """

    annotations: tuple[Annotation, ...]
    problems: tuple[Problem, ...]
    dropped_files: int
    dropped_objects: int

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that make something unusable."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that were read anyway."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    def require_no_errors(self) -> None:
        """Raise AnnotationError, a line for every error and one that counts them, if there is any."""
        if self.errors:
            lines = [*map(str, self.errors), f"{counted(self.errors)}; fix them, or leave them out with on_error=skip"]
            raise AnnotationError("\n".join(lines))


@dataclass(frozen=True)
class ClassCount:
    """How often a class occurs: in how many pictures, and how many objects, difficult ones included."""

    images: int
    objects: int


def inspect(images: Path, annotations: Path, *, annotation_format: str = "pascal_voc") -> Inspection:
    """Read all annotations below one folder and decode their pictures below another, in parallel.

    Args:
        images: the folder of pictures.
        annotations: the folder of annotation files; it may be the same one.
        annotation_format: a key of `odml.annotations.FORMATS`.
    Raises:
        AnnotationError: there is no annotation file, or no picture at all.
    """
    reader = FORMATS[annotation_format]
    index, files = ImageIndex(images, find_images(images)[0]), reader.find_files(annotations)
    if not files:
        raise AnnotationError(f"{annotations}: holds no annotation file; give the folder of Pascal VOC XML files")
    if not len(index):
        raise AnnotationError(f"{images}: holds no picture; give the folder of the annotated pictures")

    def look(file: Path) -> _Look:
        where = file.relative_to(annotations.parent).as_posix()
        draft = reader.read_draft(file, where=where)
        return _look_at(draft, index, where, folder=file.relative_to(annotations).parent)

    looks = list(progress(parallel_map(look, files), total=len(files), description="inspecting annotations"))
    inspection = _gather(looks, index)
    _log_summary(inspection)
    return inspection


def count_classes(annotations: Iterable[Annotation]) -> dict[str, ClassCount]:
    """Count each class, sorted by name."""
    images: Counter[str] = Counter()
    objects: Counter[str] = Counter()
    for annotation in annotations:
        objects.update(annotation.names)
        images.update(set(annotation.names))
    return {name: ClassCount(images[name], objects[name]) for name in sorted(objects)}


def counted(problems: Sequence[Problem]) -> str:
    """Say how many problems of one severity there are in how many files: "2 errors in 1 file"."""
    files = len({problem.file for problem in problems})
    return f"{_number(len(problems), problems[0].severity)} in {_number(files, 'file')}"


@dataclass(frozen=True)
class _Look:
    """What one annotation file came to; ``annotation`` is None if its picture cannot be used."""

    where: str
    image: Path | None
    annotation: Annotation | None
    problems: tuple[Problem, ...]


def _look_at(draft: Draft, index: ImageIndex, where: str, *, folder: Path) -> _Look:
    found = index.find(draft.image_names, beside=folder)
    if _unusable(draft.problems):
        return _Look(where, found[0] if len(found) == 1 else None, None, draft.problems)
    if len(found) != 1:
        return _Look(where, None, None, (*draft.problems, Problem(where, None, _not_found(draft, found, index))))
    image, shown_as = found[0], index.shown(found[0])
    try:
        data = image.read_bytes()
        height, width, _ = read_image(data, where=shown_as).shape
        orientation = orientation_of(data, where=shown_as)
    except (ImageError, OSError) as error:
        message = str(error).removeprefix(f"{shown_as}: ")
        return _Look(where, image, None, (*draft.problems, Problem(shown_as, None, message)))
    annotation, problems = _fit(draft, where, image, width=width, height=height, orientation=orientation)
    return _Look(where, image, annotation, (*draft.problems, *problems))


def _unusable(problems: Iterable[Problem]) -> bool:
    return any(problem.severity == "error" and problem.object is None for problem in problems)


def _not_found(draft: Draft, found: Sequence[Path], index: ImageIndex) -> str:
    if found:
        names = ", ".join(map(index.shown, found))
        return f"its picture {draft.image_names[0]} may be any of {names}; write its folder in <filename>"
    return f"its picture {draft.image_names[0]} is not in {index.folder}; add it or remove the annotation"


def _fit(
    draft: Draft, where: str, image: Path, *, width: int, height: int, orientation: int
) -> tuple[Annotation | None, list[Problem]]:
    """Lay the draft's boxes on the upright picture, by the rule of odml.images."""
    on_stored = orientation >= 5 and width != height and draft.size == (height, width)
    problems = _compare_sizes(draft, where, width=width, height=height, on_stored=on_stored)
    drawn_width, drawn_height = (height, width) if on_stored else (width, height)
    fitting, boxes = [], []
    for item in draft.objects:
        box, problem = _clip(item, where, width=drawn_width, height=drawn_height)
        problems += [problem] if problem else []
        if box is not None:
            fitting.append(item)
            boxes.append(box)
    laid = np.array(boxes, np.float32).reshape(-1, 4)
    if on_stored:
        laid = turn_boxes(laid, orientation, width=drawn_width, height=drawn_height)
    if not fitting and (draft.objects or draft.problems):
        return None, [*problems, Problem(where, None, _NONE_LEFT, "warning")]
    return _annotation(image, width, height, laid, fitting), problems


def _annotation(image: Path, width: int, height: int, boxes: np.ndarray, items: Sequence[DraftObject]) -> Annotation:
    return Annotation(
        image=image,
        width=width,
        height=height,
        boxes=boxes,
        names=tuple(item.name for item in items),
        difficult=np.array([item.difficult for item in items], np.bool_),
        truncated=np.array([item.truncated for item in items], np.bool_),
        poses=tuple(item.pose for item in items),
    )


def _compare_sizes(draft: Draft, where: str, *, width: int, height: int, on_stored: bool) -> list[Problem]:
    if draft.size is None or draft.size == (width, height):
        return []
    stated = f"states a picture of {draft.size[0]}x{draft.size[1]} pixels"
    if on_stored:
        message = f"{stated}, not turned upright by its EXIF orientation as viewers do; its boxes are turned with it"
    else:
        message = f"{stated}, but the picture has {width}x{height}; its boxes are taken as they are, look at them"
    return [Problem(where, None, message, "warning")]


def _clip(item: DraftObject, where: str, *, width: int, height: int) -> tuple[np.ndarray | None, Problem | None]:
    """Clip a box that sticks out of the picture by no more than the tolerance; give None for one that is outside."""
    box = np.array(item.box)
    clipped = np.clip(box, 0, [width, height, width, height])
    out = np.abs(box - clipped)
    if not out.any():
        return clipped, None
    sides = ", ".join(side for side, distance in zip(item.written, out, strict=True) if distance)
    reaches = f"reaches outside the picture of {width}x{height} pixels"
    if out.max() > _TOLERANCE or (clipped[2:] <= clipped[:2]).any():
        return None, Problem(where, item.number, f"{reaches} ({sides}); correct or remove the box")
    return clipped, Problem(where, item.number, f"{reaches} by one at most ({sides}); the box is clipped", "warning")


def _gather(looks: Sequence[_Look], index: ImageIndex) -> Inspection:
    """Join the files' results; of two that annotate one picture the later one is an error."""
    problems: list[Problem] = []
    annotations: list[Annotation] = []
    dropped_objects = 0
    annotated_by: dict[Path, str] = {}
    for look in looks:
        problems += look.problems
        if look.image is None or _unusable(look.problems):
            continue
        first = annotated_by.setdefault(look.image, look.where)
        if first != look.where:
            message = f"annotates {index.shown(look.image)}, as {first} does; remove one of them"
            problems.append(Problem(look.where, None, message))
        elif look.annotation:
            annotations.append(look.annotation)
            dropped_objects += len({problem.object for problem in look.problems if problem.severity == "error"})
    problems += _unannotated(index, {look.image for look in looks})
    annotations.sort(key=lambda annotation: annotation.image)
    return Inspection(tuple(annotations), tuple(problems), len(looks) - len(annotations), dropped_objects)


def _unannotated(index: ImageIndex, annotated: Collection[Path | None]) -> list[Problem]:
    left = [image for image in index.images if image not in annotated]
    if not left:
        return []
    message = (
        f"{len(left)} of {len(index)} pictures have no annotation file, first: {index.shown(left[0])}; "
        "they are left out (an annotation file without objects makes a picture background)"
    )
    return [Problem(index.folder.name, None, message, "warning")]


def _log_summary(inspection: Inspection) -> None:
    objects = sum(len(annotation.names) for annotation in inspection.annotations)
    _log.info("inspected %d usable pictures with %d objects", len(inspection.annotations), objects)
    if inspection.warnings:
        _log.warning("%s, first: %s", counted(inspection.warnings), inspection.warnings[0])


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
