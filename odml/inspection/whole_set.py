"""What shows only when all pictures are seen together: spellings of one class, one picture under two names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from odml.annotations.draft import Problem
from odml.inspection.fitting import Fix
from odml.structures import Annotation


def find_spellings(
    annotations: Sequence[tuple[str, Annotation]], *, fix: Fix
) -> tuple[list[Annotation], list[Problem]]:
    """Find the classes whose names differ in case or spaces only; a dash or an underscore counts as a space.

    Args:
        annotations: each with the file that it is in.
        fix: unless it is "none", all of them get the name that most objects have.
    Returns:
        The annotations, in their order, and a problem for each name but the most frequent one.
    """
    counts = Counter(name for _, annotation in annotations for name in annotation.names)
    alike = defaultdict(list)
    for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        alike[_folded(name)].append(name)
    usual = {name: names[0] for names in alike.values() for name in names[1:]}
    problems = [_spelling(name, usual[name], counts, annotations, fix=fix) for name in usual]
    if fix == "none":
        return [annotation for _, annotation in annotations], problems
    renamed = [
        replace(annotation, names=tuple(usual.get(name, name) for name in annotation.names))
        for _, annotation in annotations
    ]
    return renamed, problems


def find_doubles(digests: Mapping[Path, str], shown: Callable[[Path], str]) -> list[Problem]:
    """Give a problem for each picture that shows the same pixels as an earlier one.

    Args:
        digests: by picture, as ``Inspection.digests``.
        shown: gives a picture's path for people.
    """
    first: dict[str, Path] = {}
    problems = []
    for image in sorted(digests):
        same = first.setdefault(digests[image], image)
        if same != image:
            message = f"shows the same as {shown(same)}; remove one, it counts double"
            problems.append(Problem(shown(image), None, message, "warning", "picture that is there twice", image=image))
    return problems


def find_leaks(digests: Mapping[Path, str], sides: Mapping[Path, str], shown: Callable[[Path], str]) -> list[Problem]:
    """Give a problem for each picture that is not for training but shows the same as one that is, or for both.

    Args:
        digests: by picture, as ``Inspection.digests``.
        sides: "train", or another word, for each picture that has a side of the split.
        shown: gives a picture's path for people.
    """
    trained = {digests[image]: image for image in sorted(sides, reverse=True) if sides[image] == "train"}
    problems = []
    for image in sorted(sides):
        same = trained.get(digests[image])
        if same and sides[image] != "train":
            message = f"is for {sides[image]}, but shows the same as {shown(same)}, which is for train; remove one"
            problems.append(Problem(shown(image), None, message, "warning", "picture in two splits", image=image))
    return problems


def _folded(name: str) -> str:
    return "".join(name.replace("_", " ").replace("-", " ").split()).casefold()


def _spelling(
    name: str, usual: str, counts: Counter[str], annotations: Sequence[tuple[str, Annotation]], *, fix: Fix
) -> Problem:
    where, annotation = next((where, each) for where, each in annotations if name in each.names)
    x1, y1, x2, y2 = annotation.boxes[annotation.names.index(name)].tolist()
    differs = (
        f"class {name!r} differs from {usual!r} only in case or spaces ({counts[name]} and {counts[usual]} objects)"
    )
    problem = Problem(where, None, "", kind="class with two spellings", image=annotation.image, box=(x1, y1, x2, y2))
    if fix == "none":
        return replace(problem, message=f"{differs}; spell it alike, or they are two classes", severity="warning")
    return replace(problem, message=f"{differs}; it is read as {usual!r}", severity="mended")
