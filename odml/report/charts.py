"""An evaluation as charts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from PIL import Image

from odml.drawing import PALETTE, font_path, html_colour
from odml.evaluation import Analysis
from odml.evaluation.calibration import BINS
from odml.evaluation.coco import RECALLS
from odml.evaluation.curves import SCORES, Curves
from odml.figures import draw_figure

_NAMED_CURVES = 7
_NAMED_CELLS = 40
_NUMBERED_CELLS = 25
_SIZE = (6.4, 4.2)  # inches
_COLOURS = [html_colour(class_id) for class_id in range(1, len(PALETTE) + 1)]
_BLUE, _RED = _COLOURS[4], _COLOURS[5]
_INK, _FAINT = "#1c2733", "#b8c4ce"


def draw_charts(analysis: Analysis) -> dict[str, Image.Image]:
    """Draw a chart for each thing that an evaluation tells; none of what it cannot tell without objects.

    Their names are precision_recall, f1_score, precision_score, recall_score, confusion_matrix, errors and calibration.
    """
    charts = {}
    if analysis.mean:
        charts["precision_recall"] = _draw(_precision_recall, analysis)
        charts["f1_score"] = _draw(_f1, analysis)
        charts["precision_score"] = _draw(_precision, analysis)
        charts["recall_score"] = _draw(_recall, analysis)
    side = min(max(4.2, 0.36 * (len(analysis.label_map) + 1) + 1.6), 14)
    charts["confusion_matrix"] = _draw(_confusion, analysis, (max(side * 1.1, _SIZE[0]), side))
    if analysis.errors:
        charts["errors"] = _draw(_errors, analysis)
    if analysis.calibration:
        charts["calibration"] = _draw(_calibration, analysis)
    return charts


def _draw(draw: Callable[[Axes, Analysis], None], analysis: Analysis, size: tuple = _SIZE) -> Image.Image:
    return draw_figure(lambda axes: draw(axes, analysis), size=size)


def _precision_recall(axes: Axes, analysis: Analysis) -> None:
    _curves(axes, analysis, RECALLS, lambda curves: curves.over_recall)
    axes.set_title("Precision over recall at IoU .5 (the area is AP)")
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")


def _f1(axes: Axes, analysis: Analysis) -> None:
    _curves(axes, analysis, SCORES, lambda curves: curves.F1)
    if analysis.mean and analysis.mean.best:
        best = analysis.mean.best
        axes.plot(best.threshold, best.F1, "o", color=_INK, zorder=5)
        side = "left" if best.threshold < 0.15 else "right" if best.threshold > 0.85 else "center"
        axes.text(best.threshold, best.F1 + 0.04, f"{best.F1:.2f} at {best.threshold:.3g}", ha=side, color=_INK)
    axes.set_title("F1 of detections from a score on")
    axes.set_xlabel("score threshold")
    axes.set_ylabel("F1")


def _precision(axes: Axes, analysis: Analysis) -> None:
    _curves(axes, analysis, SCORES, lambda curves: curves.precision)
    axes.set_title("Precision of detections from a score on")
    axes.set_xlabel("score threshold")
    axes.set_ylabel("precision")


def _recall(axes: Axes, analysis: Analysis) -> None:
    _curves(axes, analysis, SCORES, lambda curves: curves.recall)
    axes.set_title("Recall of detections from a score on")
    axes.set_xlabel("score threshold")
    axes.set_ylabel("recall")


def _curves(axes: Axes, analysis: Analysis, x: np.ndarray, y: Callable[[Curves], np.ndarray]) -> None:
    """Draw the mean and each class: the few most frequent ones in colours with their names, others faint."""
    there = [number for number, curves in enumerate(analysis.curves) if curves]
    objects = [each.objects for each in analysis.evaluation.per_class]
    named = sorted(sorted(there, key=lambda number: -objects[number])[:_NAMED_CURVES])
    for number in there:
        curves = analysis.curves[number]
        assert curves
        if number in named:
            # Not yet the name: one that begins with "_" would be left out of the legend.
            axes.plot(x, y(curves), color=_COLOURS[named.index(number)], linewidth=1.6, zorder=2, label=str(number))
        else:
            axes.plot(x, y(curves), color=_FAINT, linewidth=0.8, zorder=1)
    if len(there) > 1:
        assert analysis.mean
        axes.plot(x, y(analysis.mean), color=_INK, linewidth=2.6, label="mean", zorder=3)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.05)
    axes.grid(color="#eef1f4")
    legend = axes.figure.legend(frameon=False, loc="outside lower center", ncols=4)
    for text, number in zip(legend.get_texts(), named, strict=False):  # after them the mean
        text.set_text(_readable(analysis.label_map.names[number], number + 1))
        _set_font(text, analysis.label_map.names[number])


def _confusion(axes: Axes, analysis: Analysis) -> None:
    matrix, names = analysis.confusion, [*analysis.label_map.names, "background"]
    totals = np.broadcast_to(matrix.sum(axis=1, keepdims=True), matrix.shape).copy()
    totals[-1] = matrix.sum(axis=0)  # how many false alarms there are says nothing, without the right ones
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if len(names) <= _NUMBERED_CELLS:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                colour = "white" if shares[row, column] > 0.5 else _INK
                axes.text(column, row, str(count), ha="center", va="center", color=colour)
    if len(names) <= _NAMED_CELLS:
        labels = [_readable(name, number) for number, name in enumerate(names, start=1)]
        axes.set_yticks(range(len(names)), labels)
        axes.set_xticks(range(len(names)), [*labels[:-1], "missed"], rotation=45 if len(names) > 4 else 0, ha="center")
        for ticks in (axes.get_xticklabels()[:-1], axes.get_yticklabels()[:-1]):
            for text, name in zip(ticks, names[:-1], strict=True):
                _set_font(text, name)
    axes.set_xlabel("detected as")
    axes.set_ylabel("ground truth")
    axes.figure.supxlabel("colour: share of the objects; of background: of the detections", fontsize=8, color=_INK)
    axes.set_title(f"Confusion from score {analysis.score_threshold:.3g} on")


def _errors(axes: Axes, analysis: Analysis) -> None:
    kinds = [each.kind for each in analysis.errors]
    lost = np.array([each.lost for each in analysis.errors])
    bars = axes.barh(range(len(kinds)), lost, color=_BLUE)
    labels = [f"{each.lost:.3f}" + (f"  ({each.share:.0%})" if each.share else "") for each in analysis.errors]
    axes.bar_label(bars, labels, padding=4)
    axes.set_yticks(range(len(kinds)), kinds)
    axes.invert_yaxis()
    axes.set_xlim(0, max(lost.max() * 1.3, 0.01))
    axes.set_title("What each kind of error costs (TIDE)")
    axes.set_xlabel("mAP@.5 lost (share of all losses)")


def _calibration(axes: Axes, analysis: Analysis) -> None:
    calibration = analysis.calibration
    assert calibration
    edges = np.arange(BINS) / BINS
    there = calibration.counts > 0
    axes.bar(
        edges[there], calibration.precision[there], 1 / BINS, align="edge", color=_BLUE, alpha=0.35, edgecolor="white"
    )
    axes.plot(calibration.scores[there], calibration.precision[there], "o-", color=_BLUE, label="detections")
    axes.plot([0, 1], [0, 1], "--", color=_RED, linewidth=1, label="a score that is the precision")
    for edge, count in zip(edges[there], calibration.counts[there], strict=True):
        axes.text(edge + 0.5 / BINS, 1.03, str(count), ha="center", fontsize=8, color=_INK)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.1)
    axes.set_title(f"Precision of the detections with a score (calibration error {calibration.error:.3f})")
    axes.set_xlabel("score (above: detections)")
    axes.set_ylabel("precision")
    axes.figure.legend(frameon=False, loc="outside lower center", ncols=2)


def _readable(name: str, class_id: int) -> str:
    """Give a name as matplotlib writes it, or "class ID" where no font here has its letters."""
    # A "$" would begin a formula.
    return name.replace("$", r"\$") if font_path(name) else f"class {class_id}"


def _set_font(text: Text, name: str) -> None:
    """Choose a font that has the name's letters, if matplotlib's own has not."""
    path = font_path(name)
    if path and path != font_path("a"):
        text.set_fontproperties(FontProperties(fname=path, size=text.get_fontsize()))
