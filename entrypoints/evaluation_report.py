"""What an evaluation keeps in its run beside metrics: one page, charts, tables, and COCO's files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from odml.report import Speed, draw_charts, draw_worst, write_ground_truth, write_page, write_predictions

if TYPE_CHECKING:
    from odml.evaluation import Analysis
    from odml.structures import Annotation, Detections
    from odml.tracking import Run

FOLDER = "evaluation"
# As odml.report writes and reads them; compare reads them again.
GROUND_TRUTH, PREDICTIONS = "ground_truth.json", "predictions.json"


def log_report(
    run: Run,
    analysis: Analysis,
    annotations: Sequence[Annotation],
    detections: Sequence[Detections],
    images: Iterable[np.ndarray],
    *,
    title: str,
    facts: Mapping[str, str],
    speed: Speed | None,
) -> None:
    """Log the page, charts, tables, ground truth and detections to the folder ``evaluation`` of a run.

    Args:
        annotations: of all pictures.
        detections: of all pictures.
        images: uint8 [H, W, 3], the worst pictures in the order of their places.
        title: what people call what was evaluated.
        facts: what else the page's head says, by name.
        speed: None if it was not measured.
    """
    charts = draw_charts(analysis)
    worst = draw_worst(analysis, images, annotations, detections)
    page = write_page(analysis, charts, worst, title=title, facts=facts, speed=speed)
    run.log_text(page, f"{FOLDER}/report.html")
    for name, chart in charts.items():
        run.log_picture(chart, f"{FOLDER}/{name}.png")
    run.log_text(analysis.evaluation.summary() + "\n", f"{FOLDER}/summary.txt")
    for name, table in _tables(analysis, annotations).items():
        run.log_table(table, f"{FOLDER}/{name}.json")
    with tempfile.TemporaryDirectory(prefix="odml-") as folder:
        write_ground_truth(Path(folder, GROUND_TRUTH), annotations, analysis.label_map)
        write_predictions(Path(folder, PREDICTIONS), detections)
        run.log_artifacts(Path(folder), FOLDER)


def _tables(analysis: Analysis, annotations: Sequence[Annotation]) -> dict[str, list[dict]]:
    """Give the tables that have rows, by name."""
    names = [*analysis.label_map.names, "background"]
    tables: dict[str, list[dict]] = {
        "per_class": [dict(row) for row in analysis.class_table()],
        "errors": [vars(each) for each in analysis.errors],
        "confusion": [
            {"ground_truth": name} | dict(zip([*names[:-1], "missed"], row, strict=True))
            for name, row in zip(names, analysis.confusion.tolist(), strict=True)
        ],
        "worst_pictures": [
            {"image": annotations[each.picture].image.as_posix(), "missed": each.missed, "wrong": each.wrong}
            for each in analysis.worst
        ],
    }
    if calibration := analysis.calibration:
        there = np.flatnonzero(calibration.counts).tolist()
        tables["calibration"] = [
            {
                "detections": int(calibration.counts[row]),
                "score": float(calibration.scores[row]),
                "precision": float(calibration.precision[row]),
            }
            for row in there
        ]
    return {name: table for name, table in tables.items() if table}
