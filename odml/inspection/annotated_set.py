"""Look at every annotation and its picture before anything is made of them: problems, and what remains usable.

What is harmless is read and told as a warning; what is not is an error. Nothing here raises for what files hold.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np

from odml import annotations as annotation_formats
from odml.annotation_table import AnnotationTable
from odml.annotations.contract import AnnotatedSet, Entry
from odml.annotations.draft import Draft, Problem, Severity
from odml.annotations.list_files import read_lists
from odml.engines import Engine, work_locally
from odml.errors import AnnotationError, ImageError
from odml.image_index import ImageIndex
from odml.images import list_images
from odml.inspection.fitting import Fix, drop, fit, is_of_object
from odml.inspection.looks import group_alike
from odml.inspection.objects import check_objects
from odml.inspection.pictures import look_at_picture
from odml.inspection.whole_set import Spellings, find_doubles, find_leaks
from odml.parallel import parallel_map
from odml.progress import progress
from odml.structures import Annotation

_log = logging.getLogger(__name__)
# Of which people believe that every program reads them.
_OTHER_PICTURES = (".avif", ".heic", ".heif", ".jfif", ".jp2", ".psd", ".svg", ".tif", ".tiff", ".webp")
_ENTRIES_OF_A_TASK = 64
_ENTRIES_WORTH_A_PROCESS = 500  # in the time that a process needs to start, another looks at about as many
_NONE_LEFT = "none of its objects can be used; its picture is left out, as it would wrongly count as background"


@dataclass(frozen=True)
class Inspection:
    """What an annotated set holds.

    ``annotations`` are the usable ones, sorted by picture, without objects that cannot be used; ``problems`` are in
    the order of the files. Because of errors, or because that mended them, ``dropped_files`` annotation files, and with
    them their pictures, are not among the annotations, and of the pictures that are, ``dropped_objects`` objects are
    not. ``split_origin`` is what says which side of a split the pictures are on, for people; it is "" where nothing
    does. ``firsts`` has for each of the annotations the number of the first one whose picture looks like its own.
    """

    annotations: AnnotationTable
    problems: tuple[Problem, ...]
    dropped_files: int
    dropped_objects: int
    firsts: np.ndarray
    split_origin: str = ""

    @property
    def digests(self) -> Mapping[Path, str]:
        """Tell by picture what it shows: two with the same pixels have the same digest."""
        return self.annotations.digests

    @property
    def looks(self) -> Mapping[Path, int]:
        """Tell by picture what it looks like: two that show the same, be it in another size, have the same number."""
        return self.annotations.column(self.firsts)

    @property
    def sides(self) -> Mapping[Path, str]:
        """The sides of the split that the set comes with, "train", "val" or "test" by picture; empty without one."""
        return self.annotations.sides

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
    engine: Engine = work_locally,
) -> Inspection:
    """Read all annotations in a folder or file and decode their pictures below another folder, in parallel.

    What is remembered of a picture is its row in a table (`odml.annotation_table`), its name and its problems. The
    result is the same whatever the engine.

    No file is changed, whatever the fix: what is mended is mended in the annotations that are given.

    Args:
        images: the folder of pictures.
        annotations: the folder of annotation files, which may be the same one, or one such file.
        annotation_format: a key of `odml.annotations.FORMATS`, or "auto".
        fix: "clip" clips the boxes that stick out of their picture, "drop" drops their objects. Both drop the objects
            that cannot be used, and those drawn twice, and spell alike the classes whose names differ in case or spaces
            only. "none" leaves errors errors.
        lists: files that name the pictures of "train", "val" or "test"; they win over the set's own split.
        engine: who looks at them.
    Raises:
        AnnotationError: there is no picture at all, or nothing can be made of the annotations.
    """
    pictures, others = list_images(images)
    index = ImageIndex(images, pictures)
    unread = ImageIndex(images, others.only(lambda name: PurePosixPath(name).suffix.lower() in _OTHER_PICTURES))
    if not len(index):
        raise AnnotationError(f"{images}: holds no picture; give the folder of the annotated pictures")
    annotated = annotation_formats.read(annotations, index, annotation_format=annotation_format)
    entries = annotated.entries
    tasks = (entries[first : first + _ENTRIES_OF_A_TASK] for first in range(0, len(entries), _ENTRIES_OF_A_TASK))
    look = partial(_look_at_all, index=index, unread=unread, fix=fix)
    with closing(engine(look, tasks, worth=len(entries) // _ENTRIES_WORTH_A_PROCESS)) as results:
        looks = (each for some in results for each in some)
        inspection = _gather(
            progress(looks, total=len(entries), description="inspecting annotations"), annotated, index, fix=fix
        )
    if lists:
        inspection = _follow_lists(inspection, lists, index)
    leaks = find_leaks(inspection.annotations, inspection.firsts, index.shown)
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


@dataclass(frozen=True, slots=True)
class _Look:
    """What one annotation file came to; ``annotation`` is None if its picture, the one with the number, is no use."""

    where: str
    number: int | None
    annotation: Annotation | None
    problems: tuple[Problem, ...]
    digest: str = ""
    look: bytes = b""
    dropped_objects: int = 0
    side: str | None = None


def _look_at_all(
    entries: Sequence[Entry], *, threads: int, index: ImageIndex, unread: ImageIndex, fix: Fix
) -> list[_Look]:
    """Do one task of an engine."""
    return list(parallel_map(partial(_look_at, index=index, unread=unread, fix=fix), entries, workers=threads))


def _look_at(entry: Entry, *, index: ImageIndex, unread: ImageIndex, fix: Fix) -> _Look:
    draft, where = entry.read(), entry.where
    found = index.find(draft.image_names, beside=entry.beside)
    if _unusable(draft.problems):
        return _Look(where, index.images.number_of(found[0]) if len(found) == 1 else None, None, draft.problems)
    if len(found) != 1:
        message = _not_found(draft, found, index, unread, telling=entry.telling)
        missing = Problem(where, None, message, kind="picture that is not there")
        return _Look(where, None, None, (*draft.problems, missing))
    image, number, shown_as = found[0], index.images.number_of(found[0]), index.shown(found[0])
    try:
        picture = look_at_picture(image, where=shown_as)
    except (ImageError, OSError) as error:
        message = str(error).removeprefix(f"{shown_as}: ")
        undecodable = Problem(shown_as, None, message, kind="picture that cannot be decoded")
        return _Look(where, number, None, (*draft.problems, undecodable))
    fitted = check_objects(fit(draft, picture, where, fix=fix), picture, where, fix=fix)
    problems = [*picture.problems, *(replace(problem, image=image) for problem in fitted.problems)]
    stated = len(draft.objects) + len({problem.object for problem in draft.problems if problem.object is not None})
    if stated and not fitted.objects:
        none_left = Problem(where, None, _NONE_LEFT, "warning", "picture without a usable object", image=image)
        return _Look(where, number, None, (*problems, none_left))
    return _Look(
        where,
        number,
        fitted.annotation(picture),
        tuple(problems),
        digest=picture.digest,
        look=picture.look,
        dropped_objects=stated - len(fitted.objects),
        side=entry.side,
    )


def _unusable(problems: Iterable[Problem]) -> bool:
    return any(problem.severity == "error" and problem.object is None for problem in problems)


def _not_found(draft: Draft, found: Sequence[Path], index: ImageIndex, unread: ImageIndex, *, telling: str) -> str:
    if found:
        names = ", ".join(map(index.shown, found))
        return f"its picture {draft.image_names[0]} may be any of {names}; {telling}"
    if others := unread.find(draft.image_names):
        shown = ", ".join(map(unread.shown, others))
        return f"its picture {shown} is of a kind that odml does not read; save it as JPEG or PNG"
    return f"its picture {draft.image_names[0]} is not in {index.folder}; add it or remove the annotation"


def _gather(looks: Iterable[_Look], source: AnnotatedSet, index: ImageIndex, *, fix: Fix) -> Inspection:
    """Join the files' results as they come; of two that annotate one picture the later one is an error."""
    problems = [drop(each) if fix != "none" and is_of_object(each) else each for each in source.problems]
    table, spellings = AnnotationTable(index.images), Spellings()
    annotated_by = np.zeros(len(index), np.uint32)  # the first look at each picture, from 1
    seen = np.zeros(len(index), np.bool_)
    dropped_objects = count = 0
    for count, look in enumerate(looks, start=1):
        problems += look.problems
        if look.number is None:
            continue
        seen[look.number] = True
        if _unusable(look.problems):
            continue
        if first := int(annotated_by[look.number]):
            image = index.images[look.number]
            message = f"annotates {index.shown(image)}, as {source.entries[first - 1].where} does; remove one of them"
            problems.append(Problem(look.where, None, message, kind="second annotation of a picture", image=image))
            continue
        annotated_by[look.number] = count
        if look.annotation:
            spellings.add(look.where, look.annotation)
            table.append(look.annotation, number=look.number, digest=look.digest, look=look.look, side=look.side)
            dropped_objects += look.dropped_objects
    problems += spellings.problems(fix=fix)
    if fix != "none":
        table = table.renamed(spellings.usual)
    table = table.sorted()
    firsts = group_alike(table.look_column, table.digest_column)
    problems += [*find_doubles(table, firsts, index.shown), *_unannotated(source, index, seen)]
    return Inspection(
        table,
        tuple(problems),
        dropped_files=count - len(table),
        dropped_objects=dropped_objects + _objects_of(source.problems),
        firsts=firsts,
        split_origin=source.split_origin,
    )


def _follow_lists(inspection: Inspection, lists: Mapping[str, Path], index: ImageIndex) -> Inspection:
    sides, problems = read_lists(lists, index)
    return replace(
        inspection,
        annotations=inspection.annotations.with_sides(sides),
        problems=(*problems, *inspection.problems),
        split_origin=", ".join(f"{file} for {side}" for side, file in lists.items()),
    )


def _objects_of(problems: Sequence[Problem]) -> int:
    """Count the objects that problems apart from all pictures are about."""
    return len({(problem.file, problem.object) for problem in problems if problem.object is not None})


def _unannotated(source: AnnotatedSet, index: ImageIndex, annotated: np.ndarray) -> list[Problem]:
    left = np.flatnonzero(~annotated)
    if not len(left):
        return []
    first = index.images[int(left[0])]
    message = (
        f"{len(left)} of {len(index)} pictures {source.unannotated}, first: {index.shown(first)}; "
        f"they are left out ({source.background})"
    )
    return [Problem(index.folder.name, None, message, "warning", "pictures without annotation", image=first)]


def _log_summary(inspection: Inspection) -> None:
    table = inspection.annotations
    _log.info("inspected %d usable pictures with %d objects", len(table), table.objects)
    if inspection.warnings:
        _log.warning("%s, first: %s", counted(inspection.warnings), inspection.warnings[0])
    if inspection.mended:
        _log.warning("%s mended, first: %s", _number(len(inspection.mended), "problem"), inspection.mended[0])


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
