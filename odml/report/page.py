"""One HTML page, with all its pictures in it, of what an evaluation tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from PIL import Image

from odml.evaluation import Analysis
from odml.evaluation.coco import TITLES
from odml.evaluation.errors import KINDS
from odml.pages import template
from odml.report.speed import Speed
from odml.report.worst import WorstPicture

_FEW_OBJECTS = 20
_POORLY_CALIBRATED = 0.15
_VOC_TITLES = {"voc/mAP_11_points": "VOC mAP (2007: 11 points)", "voc/mAP_area": "VOC mAP (2010: area)"}


def write_page(
    analysis: Analysis,
    charts: Mapping[str, Image.Image],
    worst: Sequence[WorstPicture],
    *,
    title: str,
    facts: Mapping[str, str],
    speed: Speed | None,
) -> str:
    """Write the page: what to know first, all numbers, a row a class, the charts, the worst pictures.

    Args:
        charts: by name, as ``draw_charts`` gives them.
        worst: as ``draw_worst`` gives them.
        title: what people call what was evaluated.
        facts: what else they want to know about it, by name, such as its step.
        speed: None if it was not measured.
    """
    metrics = analysis.metrics()
    return template("odml.report", "page.html").render(
        title=title,
        facts=facts,
        analysis=analysis,
        metrics=metrics,
        numbers={name: (text, metrics.get(name)) for name, text in (TITLES | _VOC_TITLES).items()},
        advice=list(_advice(analysis)),
        kinds=KINDS,
        charts=charts,
        worst=worst,
        speed=speed,
        shown=_shown,
    )


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _advice(analysis: Analysis) -> Iterator[str]:
    """Say what stands out, and what to do about it."""
    best = analysis.mean.best if analysis.mean else None
    if not analysis.mean:
        yield "There is nothing to find in these pictures, so that most numbers are not defined."
    elif not best:
        yield "No object was found: train longer, or look at the pictures below."
    else:
        mean = " (mean of the classes)" if sum(map(bool, analysis.curves)) > 1 else ""
        yield (
            f"A score threshold of {best.threshold:.3g} balances misses and false alarms best: {best.precision:.0%} of "
            f"what is then detected is right, and {best.recall:.0%} of the objects are found{mean}."
        )
    costly = max(analysis.errors, key=lambda each: each.lost, default=None)
    if costly and costly.share:
        yield (
            f"Of the kinds of errors, {costly.kind} costs most ({KINDS[costly.kind]}): "
            f"{costly.lost:.3f} of mAP@.5, {costly.share:.0%} of all losses."
        )
    rare = [each for each in analysis.evaluation.per_class if each.objects < _FEW_OBJECTS]
    if rare:
        few = ", ".join(f"{each.name} ({each.objects})" for each in rare[:5]) + (", …" if len(rare) > 5 else "")
        yield f"Numbers of classes with fewer than {_FEW_OBJECTS} objects are mostly chance: {few}."
    calibration = analysis.calibration
    if calibration and calibration.error > _POORLY_CALIBRATED:
        yield (
            f"Scores are not chances here: they are off by {calibration.error:.0%} on average. Choose thresholds by "
            "the table below, not by what a score seems to say."
        )
