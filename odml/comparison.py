"""What two detectors do differently on the same pictures; knows no network, no run, no picture and no file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from odml.evaluation import Analysis, analyse
from odml.evaluation.matching import match
from odml.evaluation.pictures import PictureErrors, worst_pictures
from odml.evaluation.tables import tabulate
from odml.structures import Annotation, Detections, LabelMap

SHOWN_PICTURES = 12


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation keeps: the ground truth of its pictures, and what was found in each, in the same order."""

    annotations: Sequence[Annotation]
    detections: Sequence[Detections]
    label_map: LabelMap


@dataclass(frozen=True)
class Row:
    """A figure of both, None where it is not defined."""

    name: str
    first: float | None
    second: float | None

    @property
    def difference(self) -> float | None:
        """How much more the second has; None if one is not defined."""
        return None if self.first is None or self.second is None else self.second - self.first


@dataclass(frozen=True)
class ClassRow:
    """How well both find a class, and how many objects of it there are."""

    name: str
    objects: int
    AP: Row
    F1: Row


@dataclass(frozen=True)
class Disagreement:
    """A picture in which both detect different things.

    ``place`` is its place among the pictures that are compared, ``places`` those in the two evaluations.
    ``only_first`` and ``only_second`` count the detections that the other does not have, and ``errors`` are what
    each misses and gets wrong, by the ground truth.
    """

    place: int
    places: tuple[int, int]
    only_first: int
    only_second: int
    errors: tuple[PictureErrors, PictureErrors]


@dataclass(frozen=True)
class Comparison:
    """Two evaluations beside each other.

    ``pictures`` are how many each has, ``shared`` how many both have with the same ground truth. All figures are of
    those; where there are none, of each one's own pictures, and there are no ``disagreements``. ``evaluated`` are the
    two with the pictures that the figures are of, and one label map.
    """

    pictures: tuple[int, int]
    shared: int
    evaluated: tuple[Evaluated, Evaluated]
    analyses: tuple[Analysis, Analysis]
    disagreements: list[Disagreement]

    @property
    def is_of_all(self) -> bool:
        """Whether both are of the same pictures, all of them."""
        return self.pictures == (self.shared, self.shared)

    def metrics(self) -> list[Row]:
        """Give a row a metric, in the order of ``Analysis.metrics``."""
        first, second = (each.metrics() for each in self.analyses)
        return [Row(name, first.get(name), second.get(name)) for name in dict.fromkeys([*first, *second])]

    def classes(self) -> list[ClassRow]:
        """Give a row a class, in the order of the label map."""
        return [
            ClassRow(first["name"], first["objects"], *(Row(key, first[key], second[key]) for key in ("AP", "F1")))
            for first, second in zip(*(each.class_table() for each in self.analyses), strict=True)
        ]


def compare(first: Evaluated, second: Evaluated, *, limit: int = SHOWN_PICTURES) -> Comparison:
    """Set two evaluations beside each other, on the pictures that both have with the same ground truth.

    Pictures are the same if their names are. What counts as found in a picture is each one's own: detections from the
    score on that gives it its best F1.

    Args:
        limit: how many of the pictures are named in which they disagree most.
    Raises:
        ValueError: one of them has no pictures.
    """
    label_map = LabelMap(tuple(dict.fromkeys([*first.label_map.names, *second.label_map.names])))
    both = _renumbered(first, label_map), _renumbered(second, label_map)
    places = _shared_places(*both)
    compared = (_only(both[0], [at for at, _ in places]), _only(both[1], [at for _, at in places])) if places else both
    analyses = _analysis(compared[0]), _analysis(compared[1])
    return Comparison(
        pictures=(len(first.annotations), len(second.annotations)),
        shared=len(places),
        evaluated=compared,
        analyses=analyses,
        disagreements=_disagreements(*compared, analyses, places)[:limit] if places else [],
    )


def changes(first: Mapping[str, str], second: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Give the settings that differ, sorted by name, with the value of both, "" where one has none."""
    pairs = [(name, first.get(name, ""), second.get(name, "")) for name in sorted({*first, *second})]
    return [(name, one, other) for name, one, other in pairs if one != other]


def _renumbered(evaluated: Evaluated, label_map: LabelMap) -> Evaluated:
    """Give the class ids of another label map, that has all the names."""
    ids = np.array([0, *(label_map.id_of(name) for name in evaluated.label_map.names)], np.int32)
    return Evaluated(
        evaluated.annotations, [replace(each, classes=ids[each.classes]) for each in evaluated.detections], label_map
    )


def _shared_places(first: Evaluated, second: Evaluated) -> list[tuple[int, int]]:
    there = {each.image: place for place, each in enumerate(second.annotations)}
    pairs = [(at, there[each.image]) for at, each in enumerate(first.annotations) if each.image in there]
    return [(at, other) for at, other in pairs if _is_same(first.annotations[at], second.annotations[other])]


def _is_same(one: Annotation, other: Annotation) -> bool:
    return (
        (one.width, one.height, one.names) == (other.width, other.height, other.names)
        and np.array_equal(one.boxes, other.boxes)
        and np.array_equal(one.difficult, other.difficult)  # type: ignore[arg-type]
        and np.array_equal(one.crowd, other.crowd)  # type: ignore[arg-type]
    )


def _only(evaluated: Evaluated, places: Sequence[int]) -> Evaluated:
    return Evaluated(
        [evaluated.annotations[place] for place in places],
        [evaluated.detections[place] for place in places],
        evaluated.label_map,
    )


def _analysis(evaluated: Evaluated) -> Analysis:
    """Analyse with the errors of every picture."""
    annotations = evaluated.annotations
    return analyse(annotations, evaluated.detections, evaluated.label_map, worst=len(annotations))


def _disagreements(
    first: Evaluated,
    second: Evaluated,
    analyses: tuple[Analysis, Analysis],
    places: Sequence[tuple[int, int]],
) -> list[Disagreement]:
    """Match what one has found with what the other has: most that is left over first."""
    found = [each.best(score_threshold=analyses[0].score_threshold) for each in first.detections]
    as_objects = list(_as_annotations(first.annotations, found, first.label_map))
    objects, others = tabulate(as_objects, second.detections, second.label_map)
    left_over = worst_pictures(
        others,
        objects,
        match(others, objects, classes=len(second.label_map)),
        score_threshold=analyses[1].score_threshold,
        limit=len(places),
    )
    errors = [{each.picture: each for each in analysis.worst} for analysis in analyses]
    rows = [
        Disagreement(
            place=each.picture,
            places=places[each.picture],
            only_first=each.missed,
            only_second=each.wrong,
            errors=(_errors_of(errors[0], each.picture), _errors_of(errors[1], each.picture)),
        )
        for each in left_over
    ]
    return sorted(rows, key=lambda row: row.only_first + row.only_second, reverse=True)


def _as_annotations(
    annotations: Sequence[Annotation], found: Sequence[Detections], label_map: LabelMap
) -> Iterator[Annotation]:
    for annotation, each in zip(annotations, found, strict=True):
        names = tuple(label_map.name_of(class_id) for class_id in each.classes.tolist())
        yield Annotation(annotation.image, annotation.width, annotation.height, each.boxes, names)


def _errors_of(errors: Mapping[int, PictureErrors], place: int) -> PictureErrors:
    return errors.get(place) or PictureErrors(place, missed=0, wrong=0, cost=0.0)
