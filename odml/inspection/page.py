"""One HTML page, with all its pictures in it, of what an annotated set holds and what is wrong with it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
from PIL import Image

from odml.annotations.draft import Problem, Severity
from odml.inspection.annotated_set import Inspection
from odml.inspection.problem_pictures import ProblemPicture, draw_problems
from odml.inspection.statistics import Statistics

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
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("odml.inspection", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"png": _png, "jpeg": _jpeg, "percent": lambda share: f"{100 * share:.3g} %"}
    return environment.get_template("page.html").render(
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


def _png(picture: Image.Image) -> str:
    return _data_uri(picture.quantize(128), "png")


def _jpeg(picture: Image.Image) -> str:
    return _data_uri(picture, "jpeg", quality=85)


def _data_uri(picture: Image.Image, image_format: str, **options: int) -> str:
    encoded = io.BytesIO()
    picture.save(encoded, image_format, **options)
    return f"data:image/{image_format};base64,{base64.b64encode(encoded.getvalue()).decode()}"
