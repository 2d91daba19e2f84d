"""Look at every annotation and its picture before anything is made of them: problems, and what remains usable.

What is harmless is read and told as a warning; what is not is an error. Nothing here raises for what files hold.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from odml import annotations as annotation_formats
from odml.annotations.contract import AnnotatedSet, Entry
from odml.annotations.draft import Draft, Problem, Severity
from odml.annotations.list_files import read_lists
from odml.errors import AnnotationError, ImageError
from odml.image_index import ImageIndex
from odml.images import find_images
from odml.inspection.fitting import Fix, drop, fit, is_of_object
from odml.inspection.objects import check_objects
from odml.inspection.pictures import look_at_picture
from odml.inspection.whole_set import find_doubles, find_leaks, find_spellings
from odml.parallel import parallel_map
from odml.progress import progress
from odml.structures import Annotation

_log = logging.getLogger(__name__)
# Of which people believe that every program reads them.
_OTHER_PICTURES = (".avif", ".heic", ".heif", ".jfif", ".jp2", ".psd", ".svg", ".tif", ".tiff", ".webp")
_NONE_LEFT = "none of its objects can be used; its picture is left out, as it would wrongly count as background"


@dataclass(frozen=True)
class Inspection:
    """What an annotated set holds.

    ``annotations`` are the usable ones, sorted by picture, without objects that cannot be used; ``problems`` are in
    the order of the files. Because of errors, or because that mended them, ``dropped_files`` annotation files, and with
    them their pictures, are not among the annotations, and of the pictures that are, ``dropped_objects`` objects are
    not. ``digests`` tell by picture what it shows: two with the same pixels have the same digest. ``sides`` are those
    of the split that the set comes with, "train", "val" or "test" by picture, and ``split_origin`` is what says so, for
    people; where there is no such split both are empty.
    """

    annotations: tuple[Annotation, ...]
    problems: tuple[Problem, ...]
    dropped_files: int
    dropped_objects: int
    digests: Mapping[Path, str] = field(default_factory=dict)
    sides: Mapping[Path, str] = field(default_factory=dict)
    split_origin: str = ""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that make something unusable."""
        return self._of("error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that were read anyway."""
        return self._of("warning")

    @property
    def notes(self) -> tuple[Problem, ...]:
        """What is harmless, but good to know."""
        return self._of("note")

    @property
    def mended(self) -> tuple[Problem, ...]:
        """What was an error until it was mended, and what was done."""
        return self._of("mended")

    def _of(self, severity: Severity) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == severity)

    def require_no_errors(self) -> None:
        """Raise AnnotationError, a line for every error and one that counts them, if there is any."""
        if self.errors:
            advice = "correct them, let fix=clip or fix=drop mend them, or leave them out with on_error=skip"
            lines = [*map(str, self.errors), f"{counted(self.errors)}; {advice}"]
            raise AnnotationError("\n".join(lines))


@dataclass(frozen=True)
class ClassCount:
    """How often a class occurs: in how many pictures, and how many objects, difficult ones included."""

    images: int
    objects: int


def inspect(
    images: Path,
    annotations: Path,
    *,
    annotation_format: str = "auto",
    fix: Fix = "none",
    lists: Mapping[str, Path] = MappingProxyType({}),
) -> Inspection:
    """Read all annotations in a folder or file and decode their pictures below another folder, in parallel.

    No file is changed, whatever the fix: what is mended is mended in the annotations that are given.

    Args:
        images: the folder of pictures.
        annotations: the folder of annotation files, which may be the same one, or one such file.
        annotation_format: a key of `odml.annotations.FORMATS`, or "auto".
        fix: "clip" clips the boxes that stick out of their picture, "drop" drops their objects. Both drop the objects
            that cannot be used, and those drawn twice, and spell alike the classes whose names differ in case or spaces
            only. "none" leaves errors errors.
        lists: files that name the pictures of "train", "val" or "test"; they win over the set's own split.
    Raises:
        AnnotationError: there is no picture at all, or nothing can be made of the annotations.
    """
    pictures, others = find_images(images)
    index = ImageIndex(images, pictures)
    unread = ImageIndex(images, [path for path in others if path.suffix.lower() in _OTHER_PICTURES])
    if not len(index):
        raise AnnotationError(f"{images}: holds no picture; give the folder of the annotated pictures")
    annotated = annotation_formats.read(annotations, index, annotation_format=annotation_format)

    def look(entry: Entry) -> _Look:
        return _look_at(entry, index, unread, fix=fix)

    entries = annotated.entries
    looks = list(progress(parallel_map(look, entries), total=len(entries), description="inspecting annotations"))
    inspection = _gather(looks, annotated, index, fix=fix)
    if lists:
        inspection = _follow_lists(inspection, lists, index)
    leaks = find_leaks(inspection.digests, inspection.sides, index.shown)
    inspection = replace(inspection, problems=(*inspection.problems, *leaks))
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
    digest: str = ""
    dropped_objects: int = 0
    side: str | None = None


def _look_at(entry: Entry, index: ImageIndex, unread: ImageIndex, *, fix: Fix) -> _Look:
    draft, where = entry.read(), entry.where
    found = index.find(draft.image_names, beside=entry.beside)
    if _unusable(draft.problems):
        return _Look(where, found[0] if len(found) == 1 else None, None, draft.problems)
    if len(found) != 1:
        message = _not_found(draft, found, index, unread)
        missing = Problem(where, None, message, kind="picture that is not there")
        return _Look(where, None, None, (*draft.problems, missing))
    image, shown_as = found[0], index.shown(found[0])
    try:
        picture = look_at_picture(image, where=shown_as)
    except (ImageError, OSError) as error:
        message = str(error).removeprefix(f"{shown_as}: ")
        undecodable = Problem(shown_as, None, message, kind="picture that cannot be decoded")
        return _Look(where, image, None, (*draft.problems, undecodable))
    fitted = check_objects(fit(draft, picture, where, fix=fix), picture, where, fix=fix)
    problems = [*picture.problems, *(replace(problem, image=image) for problem in fitted.problems)]
    stated = len(draft.objects) + len({problem.object for problem in draft.problems if problem.object is not None})
    if stated and not fitted.objects:
        none_left = Problem(where, None, _NONE_LEFT, "warning", "picture without a usable object", image=image)
        return _Look(where, image, None, (*problems, none_left), picture.digest)
    dropped = stated - len(fitted.objects)
    return _Look(where, image, fitted.annotation(picture), tuple(problems), picture.digest, dropped, entry.side)


def _unusable(problems: Iterable[Problem]) -> bool:
    return any(problem.severity == "error" and problem.object is None for problem in problems)


def _not_found(draft: Draft, found: Sequence[Path], index: ImageIndex, unread: ImageIndex) -> str:
    if found:
        names = ", ".join(map(index.shown, found))
        return f"its picture {draft.image_names[0]} may be any of {names}; write its folder in <filename>"
    if others := unread.find(draft.image_names):
        shown = ", ".join(map(unread.shown, others))
        return f"its picture {shown} is of a kind that odml does not read; save it as JPEG or PNG"
    return f"its picture {draft.image_names[0]} is not in {index.folder}; add it or remove the annotation"


def _gather(looks: Sequence[_Look], source: AnnotatedSet, index: ImageIndex, *, fix: Fix) -> Inspection:
    """Join the files' results; of two that annotate one picture the later one is an error."""
    problems = [drop(each) if fix != "none" and is_of_object(each) else each for each in source.problems]
    usable: list[_Look] = []
    annotated_by: dict[Path, _Look] = {}
    for look in looks:
        problems += look.problems
        if look.image is None or _unusable(look.problems):
            continue
        first = annotated_by.setdefault(look.image, look)
        if first is not look:
            message = f"annotates {index.shown(look.image)}, as {first.where} does; remove one of them"
            problems.append(Problem(look.where, None, message, kind="second annotation of a picture", image=look.image))
        elif look.annotation:
            usable.append(look)
    annotated = [(look.where, look.annotation) for look in usable if look.annotation]
    annotations, spellings = find_spellings(annotated, fix=fix)
    digests = {look.image: look.digest for look in usable if look.image}
    problems += [*spellings, *find_doubles(digests, index.shown), *_unannotated(index, {look.image for look in looks})]
    return Inspection(
        tuple(sorted(annotations, key=lambda annotation: annotation.image)),
        tuple(problems),
        dropped_files=len(looks) - len(usable),
        dropped_objects=sum(look.dropped_objects for look in usable) + _objects_of(source.problems),
        digests=digests,
        sides={look.image: look.side for look in usable if look.image and look.side},
        split_origin=source.split_origin,
    )


def _follow_lists(inspection: Inspection, lists: Mapping[str, Path], index: ImageIndex) -> Inspection:
    sides, problems = read_lists(lists, index)
    return replace(
        inspection,
        problems=(*problems, *inspection.problems),
        sides={each.image: sides[each.image] for each in inspection.annotations if each.image in sides},
        split_origin=", ".join(f"{file} for {side}" for side, file in lists.items()),
    )


def _objects_of(problems: Sequence[Problem]) -> int:
    """Count the objects that problems apart from all pictures are about."""
    return len({(problem.file, problem.object) for problem in problems if problem.object is not None})


def _unannotated(index: ImageIndex, annotated: Collection[Path | None]) -> list[Problem]:
    left = [image for image in index.images if image not in annotated]
    if not left:
        return []
    message = (
        f"{len(left)} of {len(index)} pictures have no annotation file, first: {index.shown(left[0])}; "
        "they are left out (an annotation file without objects makes a picture background)"
    )
    return [Problem(index.folder.name, None, message, "warning", "pictures without annotation", image=left[0])]


def _log_summary(inspection: Inspection) -> None:
    objects = sum(len(annotation.names) for annotation in inspection.annotations)
    _log.info("inspected %d usable pictures with %d objects", len(inspection.annotations), objects)
    if inspection.warnings:
        _log.warning("%s, first: %s", counted(inspection.warnings), inspection.warnings[0])
    if inspection.mended:
        _log.warning("%s mended, first: %s", _number(len(inspection.mended), "problem"), inspection.mended[0])


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
