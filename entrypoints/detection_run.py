"""The run of detect: finds the detector and the pictures, and logs what came of it."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from odml import tracking
from odml.batch_detection import Outcome, detect_all, writing
from odml.detection_outputs import OUTPUTS, Output, Result, Setup
from odml.detection_outputs.first_pictures import FirstPictures
from odml.detection_outputs.going_on import open_folder
from odml.detection_outputs.unreadable import Unreadable
from odml.detector import GRAPH_FILE, Detector
from odml.errors import ConfigurationError, ImageError
from odml.selection import Selection, parse_classes
from odml.signals import StopSignals
from odml.sources import STANDARD_INPUT, FileNames, Sources, find_sources
from odml.structures import LABELS_FILE, Annotation, LabelMap
from odml.tiling import Tiling

if TYPE_CHECKING:
    from odml.tracking import Run

logger = logging.getLogger(__name__)

FOLDER = "detected"


@dataclass(frozen=True)
class Wanted:
    """What was asked for, by the names of the parameters."""

    images: str
    outputs: list[str]
    output_dir: str
    skip_existing: bool
    score_threshold: float
    max_detections: int
    classes: str
    nms_iou: float
    tiles: str
    tile_overlap: float
    frame_step: int
    annotations: Path | None

    @property
    def title(self) -> str:
        """What people call the pictures."""
        return "the list" if self.images == STANDARD_INPUT else self.images

    def require_allowed(self) -> None:
        """Raise ConfigurationError for a value out of its range, or one that needs another parameter."""
        self.selection()
        self.tiling()
        if self.frame_step < 1:
            raise ConfigurationError(f"frame_step: {self.frame_step} is below 1; give 1 for every frame")
        if self.skip_existing and not self.output_dir:
            raise ConfigurationError("skip_existing: needs output_dir, the folder to go on in; give both or neither")

    def selection(self, label_map: LabelMap | None = None) -> Selection:
        """Give what is asked of detections; the classes only with a label map."""
        return Selection(
            score_threshold=self.score_threshold,
            max_detections=self.max_detections,
            classes=parse_classes(self.classes, label_map) if label_map else (),
            nms_iou=None if self.nms_iou < 0 else self.nms_iou,
        )

    def tiling(self) -> Tiling | None:
        """Give how pictures are cut, None if they are not."""
        return Tiling.parse(self.tiles, overlap=self.tile_overlap) if self.tiles else None

    def settings(self, graph: Path, root: Path | None) -> dict[str, Any]:
        """Give all that decides what is found in a picture, and by which name, as plain data."""
        return {
            "graph": hashlib.sha256(graph.read_bytes()).hexdigest(),
            "images": str(root.resolve()) if root else "",
            "score_threshold": self.score_threshold,
            "max_detections": self.max_detections,
            "classes": self.classes,
            "nms_iou": self.nms_iou,
            "tiles": self.tiles,
            "tile_overlap": self.tile_overlap,
        }


def detect(wanted: Wanted, *, export: str) -> None:
    """Detect, print a summary, and log it.

    Raises:
        OdmlError: something was not found or cannot be written, or, at the end, some pictures cannot be read.
        KeyboardInterrupt: it was stopped, after all that was found until then has been written.
    """
    listed = sys.stdin.read().splitlines() if wanted.images == STANDARD_INPUT else []
    sources = find_sources(wanted.images, listed=listed)
    truth = _ground_truth(wanted.annotations, sources.root)
    with tracking.start_run("detect") as run:
        graph = _graph(run, export)
        detector = Detector.load(graph)
        selection = wanted.selection(detector.label_map)
        with writing():
            folder, existing = _folder(run, wanted, graph, sources)
            setup = _setup(run, wanted, folder, sources, detector.label_map)
            outputs = _outputs(wanted, setup, run)
        with StopSignals() as stop:
            outcome = detect_all(
                detector,
                sources,
                outputs,
                selection=selection,
                tiling=wanted.tiling(),
                frame_step=wanted.frame_step,
                existing=existing,
                truth=truth,
                stop=stop,
            )
        _log(run, outcome, sources, detector.label_map)
        if wanted.output_dir and "gallery" in wanted.outputs:
            run.log_artifact(folder / "gallery.html", FOLDER)
        click.echo(_summary(outcome, sources, where=wanted.output_dir or f"{run.artifact_uri}/{FOLDER}"))
        if stop:
            run.tag("odml.stop_reason", stop.reason)
            click.echo(f"stopped by {stop.reason}; what was found until then is there")
            raise KeyboardInterrupt
        _require_readable(outcome, wanted.title)


def _graph(run: Run, export: str) -> Path:
    """Find the folder of the detector, and tag the run with what it is."""
    graph = run.input(
        "export",
        export,
        operations=("export_and_freeze",),
        artifact="graph",
        needed=lambda name: name in (GRAPH_FILE, LABELS_FILE),
    )
    exported = run.input_tags("export")
    if model := exported.get("odml.model"):
        run.tag_model(model)
    if step := exported.get("odml.step"):
        run.tag("odml.step", step)
    return graph


def _folder(run: Run, wanted: Wanted, graph: Path, sources: Sources) -> tuple[Path, Iterator[Result]]:
    """Give the folder to write into, and what an earlier run has found there."""
    if not wanted.output_dir:
        return run.artifact_folder(FOLDER).path, iter(())
    folder = Path(wanted.output_dir)
    settings = wanted.settings(graph / GRAPH_FILE, sources.root)
    existing = open_folder(folder, settings, skip_existing=wanted.skip_existing)
    run.tag("odml.output_dir", folder.resolve())
    return folder, existing


def _setup(run: Run, wanted: Wanted, folder: Path, sources: Sources, label_map: LabelMap) -> Setup:
    lineage = run.input_tags("export")
    facts = {
        "model": lineage.get("odml.model", ""),
        "step": lineage.get("odml.step", ""),
        "export": run.input_run("export") or "",
        "score from": f"{wanted.score_threshold:g}",
        "classes": wanted.classes,
        "tiles": wanted.tiles,
    }
    return Setup(
        folder=folder,
        label_map=label_map,
        names=FileNames(sources.sources),
        title=wanted.title,
        score_threshold=wanted.score_threshold,
        facts=tuple((name, text) for name, text in facts.items() if text),
    )


def _ground_truth(annotations: Path | None, root: Path | None) -> Callable[[Path, int, int], Annotation | None]:
    if annotations is None:
        return lambda path, width, height: None
    if root is None:
        raise ConfigurationError("annotations: are for picture files, and images names none; leave them out")
    from odml.ground_truth import GroundTruth

    known = GroundTruth(annotations, root)
    return lambda path, width, height: known.of(path, width=width, height=height)


def _outputs(wanted: Wanted, setup: Setup, run: Run) -> list[Output]:
    """Make the outputs; ``jsonl`` is always written where a later run may go on."""
    names = dict.fromkeys([*wanted.outputs, *(["jsonl"] if wanted.output_dir else [])])
    first = FirstPictures(setup, lambda picture, number: run.log_image(picture, FOLDER, step=number))
    return [*(OUTPUTS[name](setup) for name in names), first, Unreadable(setup)]


def _log(run: Run, outcome: Outcome, sources: Sources, label_map: LabelMap) -> None:
    counts = {
        "images": outcome.images,
        "detections": outcome.detections,
        "unreadable": outcome.unreadable,
        "skipped": sources.skipped,
        "existing": outcome.existing,
        "images_per_second": outcome.images_per_second,
        **{f"per_class/{label_map.name_of(class_id)}": count for class_id, count in sorted(outcome.classes.items())},
    }
    run.log_metrics({f"detect/{name}": count for name, count in counts.items()})
    if outcome.images_per_second:
        logger.info("detect: %d images, %.1f a second", outcome.images, outcome.images_per_second)


def _summary(outcome: Outcome, sources: Sources, *, where: str) -> str:
    before = f", {outcome.existing} of them before" if outcome.existing else ""
    others = f"; {sources.skipped} other files were skipped" if sources.skipped else ""
    return f"{outcome.detections} detections in {outcome.images + outcome.existing} images{before}: {where}{others}"


def _require_readable(outcome: Outcome, title: str) -> None:
    if not outcome.unreadable:
        return
    lines = "".join(f"\n  {line}" for line in outcome.reasons)
    more = outcome.unreadable - len(outcome.reasons)
    rest = f"\n  and {more} more, which unreadable.txt names" if more else ""
    total = outcome.images + outcome.existing + outcome.unreadable
    raise ImageError(f"{title}: {outcome.unreadable} of {total} images cannot be read:{lines}{rest}")
