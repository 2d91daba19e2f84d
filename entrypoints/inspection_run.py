"""What every inspection of a run leaves behind, be it the beginning of prepare or an operation of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from odml.inspection.charts import draw_charts
from odml.inspection.page import write_page
from odml.inspection.statistics import Statistics

if TYPE_CHECKING:
    from odml.inspection import Inspection
    from odml.tracking import Run


def folder_name(images: Path) -> str:
    """Name a folder of pictures for people, together with the one that it is in: ``raccoon/images``."""
    return f"{images.resolve().parent.name}/{images.resolve().name}"


def log_inspection(run: Run, inspection: Inspection, statistics: Statistics, *, title: str) -> None:
    """Log problems and statistics as metrics, tables, charts and one page, before anything of it ends the run."""
    if inspection.problems:
        run.log_text("".join(f"{problem.severity}: {problem}\n" for problem in inspection.problems), "problems.txt")
        rows = [
            {
                "severity": problem.severity,
                "kind": problem.kind,
                "file": problem.file,
                "line": problem.line,
                "object": problem.object,
                "message": problem.message,
            }
            for problem in inspection.problems
        ]
        run.log_table(rows, "inspection/problems.json")
    run.log_metrics(
        {
            "data/errors": len(inspection.errors),
            "data/warnings": len(inspection.warnings),
            "data/notes": len(inspection.notes),
            "data/mended": len(inspection.mended),
            "data/dropped_files": inspection.dropped_files,
            "data/dropped_objects": inspection.dropped_objects,
            **statistics.metrics(),
        }
    )
    if statistics.classes:
        run.log_table(statistics.class_table(), "inspection/classes.json")
    charts = draw_charts(statistics)
    for name, chart in charts.items():
        run.log_picture(chart, f"inspection/{name}.png")
    run.log_text(write_page(inspection, statistics, charts, title=title), "inspection/report.html")
