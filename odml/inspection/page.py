"""One HTML page, with all its pictures in it, of what an annotated set holds and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from odml.annotations.draft import Problem, Severity
from odml.inspection.annotated_set import Inspection
from odml.inspection.problem_pictures import ProblemPicture, draw_problems
from odml.inspection.statistics import Statistics
from odml.pages import template

_SEVERITIES: dict[Severity, str] = {
    "error": "cannot be used",
    "mended": "were errors, and are mended",
    "warning": "are read, but look at them",
    "note": "are harmless, but good to know",
}
_PICTURES_OF_A_KIND = 4
_ROWS_OF_A_KIND = 50


@dataclass(frozen=True)
class _Kind:
    """The problems of one kind; ``rows`` are the first of them."""

    title: str
    problems: Sequence[Problem]
    pictures: Sequence[ProblemPicture]

    @property
    def rows(self) -> Sequence[Problem]:
        return self.problems[:_ROWS_OF_A_KIND]


def write_page(inspection: Inspection, statistics: Statistics, charts: Mapping[str, Image.Image], *, title: str) -> str:
    """Write the page: what to know first, the problems by severity and kind with pictures, the statistics.

    Args:
        charts: by name, as ``draw_charts`` gives them.
        title: what people call the set.
    """
    return template("odml.inspection", "page.html").render(
        title=title,
        inspection=inspection,
        statistics=statistics,
        charts=charts,
        severities=[(name, meaning, _kinds(inspection, name)) for name, meaning in _SEVERITIES.items()],
        classes=statistics.class_table(),
    )


def _kinds(inspection: Inspection, severity: Severity) -> list[_Kind]:
    """Group the problems of one severity, the most frequent kind first."""
    of_kind: dict[str, list[Problem]] = {}
    for problem in inspection.problems:
        if problem.severity == severity:
            of_kind.setdefault(problem.kind, []).append(problem)
    ordered = sorted(of_kind.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        _Kind(title, problems, draw_problems(problems, of_each_kind=_PICTURES_OF_A_KIND)) for title, problems in ordered
    ]
