"""Two evaluations beside each other: a table for terminals, one HTML page with the pictures in which they disagree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from odml.comparison import Comparison, Disagreement
from odml.drawing import beside, draw_annotation, draw_detections
from odml.evaluation.coco import TITLES
from odml.pages import template

_LONGEST_SIDE = 1350


@dataclass(frozen=True)
class Side:
    """What people call one of the two, and what else they want to know of it, by name."""

    name: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class DisagreementPicture:
    """A drawn picture: ground truth, the detections of the first, those of the second."""

    name: str
    disagreement: Disagreement
    picture: Image.Image


def draw_disagreements(
    comparison: Comparison, images: Iterable[np.ndarray], names: Sequence[str]
) -> list[DisagreementPicture]:
    """Draw the pictures in which both disagree, in that order, detections from each one's own score threshold on.

    Args:
        images: uint8 [H, W, 3], those pictures in the order of their places in the first evaluation; one is held at a
            time.
        names: of the two, for the captions.
    """
    first = comparison.evaluated[0]
    drawn = {}
    by_place = sorted(comparison.disagreements, key=lambda each: each.places[0])
    for each, image in zip(by_place, images, strict=True):
        sheets = [draw_annotation(image, first.annotations[each.place], first.label_map)]
        for evaluated, analysis in zip(comparison.evaluated, comparison.analyses, strict=True):
            found = evaluated.detections[each.place].best(score_threshold=analysis.score_threshold)
            sheets.append(draw_detections(image, found, evaluated.label_map))
        sheet = beside(*sheets, captions=("ground truth", *names))
        sheet.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
        drawn[each.place] = sheet
    return [
        DisagreementPicture(first.annotations[each.place].image.as_posix(), each, drawn[each.place])
        for each in comparison.disagreements
    ]


def write_comparison(
    comparison: Comparison,
    sides: tuple[Side, Side],
    *,
    settings: Sequence[tuple[str, str, str]],
    remarks: Sequence[str],
    pictures: Sequence[DisagreementPicture],
) -> str:
    """Write the page: what is compared, the figures of both and their differences, settings, pictures.

    Args:
        settings: those that differ, as ``comparison.changes`` gives them.
        remarks: what to know before all else, such as that the data are not the same.
        pictures: as ``draw_disagreements`` gives them.
    """
    return template("odml.report", "differences.html").render(
        comparison=comparison,
        sides=sides,
        settings=settings,
        remarks=remarks,
        pictures=pictures,
        titles=TITLES,
        shown=_shown,
        signed=_signed,
    )


def comparison_text(comparison: Comparison, names: tuple[str, str], settings: Sequence[tuple[str, str, str]]) -> str:
    """Write the figures and the settings that differ as aligned plain text."""
    metrics = [
        (TITLES.get(row.name, row.name), _shown(row.first), _shown(row.second), _signed(row.difference))
        for row in comparison.metrics()
        if row.name in TITLES or row.name in ("F1", "precision", "recall", "score_threshold")
    ]
    classes = [
        (f"{title} {row.name}", _shown(of.first), _shown(of.second), _signed(of.difference))
        for row in comparison.classes()
        for title, of in (("AP", row.AP), ("F1", row.F1))
    ]
    tables: list[list[Sequence[str]]] = [[("", *names, "difference"), *metrics, *classes]]
    if settings:
        tables.append([("setting", *names), *settings])
    return "\n\n".join(map(_aligned, tables))


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"
