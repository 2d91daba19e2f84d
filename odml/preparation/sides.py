"""The usable annotations, and the side of the split that each picture is on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from odml.errors import AnnotationError, ConfigurationError
from odml.inspection import Inspection, counted
from odml.splitting import compile_group_by, group_of, group_pictures, stratified_split
from odml.structures import SIDES, Annotation

_log = logging.getLogger(__name__)


def usable_annotations(inspection: Inspection, *, on_error: str) -> Sequence[Annotation]:
    """Give the annotations to prepare.

    Args:
        inspection: of the annotated set.
        on_error: "fail" raises if there is any error; "skip" leaves out what it makes unusable and logs how much.
    Raises:
        AnnotationError: there are errors, all of them listed; or nothing usable is left; or no picture has an object.
    """
    if on_error == "fail":
        inspection.require_no_errors()
    if inspection.errors:
        _log.warning(
            "left out pictures: %d, single objects: %d (%s, first: %s)",
            inspection.dropped_files,
            inspection.dropped_objects,
            counted(inspection.errors),
            inspection.errors[0],
        )
    if not any(annotation.names for annotation in inspection.annotations):
        raise AnnotationError(
            f"annotations: no usable object in {len(inspection.annotations)} usable pictures; "
            "there is nothing to learn from: annotate some objects"
        )
    return inspection.annotations


class Sources(Mapping[str, Annotation]):
    """Annotations by source id, of which only their places are kept."""

    def __init__(self, annotations: Sequence[Annotation], places: dict[str, int]) -> None:
        self._annotations, self._places = annotations, places

    def __getitem__(self, source_id: str) -> Annotation:
        return self._annotations[self._places[source_id]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def only(self, source_ids: Iterable[str]) -> Sources:
        """Give those with these source ids, in their order."""
        return Sources(self._annotations, {source_id: self._places[source_id] for source_id in source_ids})


def by_source_id(annotations: Sequence[Annotation], images: Path) -> Sources:
    """Name each annotation by its picture's path below the folder of pictures, with "/" between folders."""
    paths = (annotation.image for annotation in annotations)
    return Sources(annotations, {path.relative_to(images).as_posix(): place for place, path in enumerate(paths)})


def require_split(*, val_split: float, test_split: float, group_by: str) -> None:
    """Raise ConfigurationError if the shares are more than all pictures, or ``group_by`` is no regular expression."""
    if val_split + test_split > 100:
        raise ConfigurationError(
            f"val_split and test_split: {val_split:g} and {test_split:g} are more than 100 percent together; lower one"
        )
    compile_group_by(group_by)


def split_sources(
    sources: Mapping[str, Annotation],
    *,
    val_split: float,
    test_split: float = 0,
    seed: int,
    group_by: str = "",
    looks: Mapping[Path, Hashable] = MappingProxyType({}),
) -> dict[str, str]:
    """Give "train", "val" or "test" for each source id, stratified by class; log how, and what validation cannot judge.

    Args:
        sources: annotations by source id.
        val_split: percent of the pictures for validation.
        test_split: percent of the pictures for the test.
        seed: of what is left to chance.
        group_by: a regular expression, searched in the file name, or if it is not there in the source id. Pictures of
            which it finds the same stay on one side, and those of which it finds nothing stand alone.
        looks: what the pictures look like; those with the same stay on one side.
    Raises:
        ConfigurationError: ``group_by`` is no regular expression, or finds nothing in any picture.
    """
    known: dict[frozenset[str], frozenset[str]] = {}  # most pictures have one of a few sets of classes
    sets = ((source_id, frozenset(annotation.names)) for source_id, annotation in sources.items())
    classes = {source_id: known.setdefault(names, names) for source_id, names in sets}
    groups = _groups(sources, group_by, looks)
    split = stratified_split(classes, val_split=val_split, test_split=test_split, seed=seed, groups=groups)
    _log_split(split, f"drawn with val_split={val_split:g}, test_split={test_split:g}, seed={seed}")
    _warn_of_missing_classes(sources, split)
    return split


def ready_split(sources: Mapping[str, Annotation], inspection: Inspection) -> dict[str, str]:
    """Give the side, in the split that the set comes with, of each source id that has one; log what it is made of.

    Raises:
        AnnotationError: no usable picture is for training.
    """
    sides = inspection.sides
    found = ((source_id, sides.get(sources[source_id].image)) for source_id in sorted(sources))
    split = {source_id: side for source_id, side in found if side}
    if "train" not in split.values():
        raise AnnotationError(f"{inspection.split_origin}: no usable picture is for training; correct the split")
    _log_split(split, f"as it is in {inspection.split_origin}; val_split, test_split and group_by do not count")
    if left := [source_id for source_id in sources if source_id not in split]:
        _log.warning(
            "%d of %d pictures are on no side of it, first: %s; they are left out", len(left), len(sources), min(left)
        )
    _warn_of_missing_classes(sources, split)
    return split


def sides_of(split: Mapping[str, str]) -> list[str]:
    """Give the sides that a data set tells of: a test only if there is one."""
    return [side for side in SIDES if side != "test" or side in split.values()]


def _groups(sources: Mapping[str, Annotation], group_by: str, looks: Mapping[Path, Hashable]) -> list[list[str]]:
    """Give the pictures that must not be parted, by name or by content; log how many they are."""
    if not group_by:
        return group_pictures(sources, lambda source_id: [_look(sources[source_id], source_id, looks)])
    pattern = compile_group_by(group_by)
    found = {source_id: group for source_id in sources if (group := group_of(source_id, pattern)) is not None}
    if not found:
        raise ConfigurationError(f"group_by: {group_by!r} is in no file name, such as {min(sources)}; correct it")

    def keys_of(source_id: str) -> list[Hashable]:
        return [_look(sources[source_id], source_id, looks), ("name", found.get(source_id) or source_id)]

    count = len(set(found.values()))
    _log.info("group_by: %d pictures in %d groups, %d without one", len(found), count, len(sources) - len(found))
    return group_pictures(sources, keys_of)


def _look(annotation: Annotation, source_id: str, looks: Mapping[Path, Hashable]) -> Hashable:
    return "look", looks.get(annotation.image, source_id)


def _log_split(split: Mapping[str, str], how: str) -> None:
    counts = Counter(split.values())
    _log.info("split: %s (%s)", ", ".join(f"{counts[side]} {side}" for side in SIDES if counts[side]), how)


def _warn_of_missing_classes(sources: Mapping[str, Annotation], split: Mapping[str, str]) -> None:
    names: dict[str, set[str]] = {side: set() for side in SIDES}
    for source_id, side in split.items():
        names[side].update(sources[source_id].names)
    missing = sorted(set().union(*names.values()) - names["val"])
    if missing and "val" in split.values():
        _log.warning("validation has no object of these classes: %s", ", ".join(missing))
