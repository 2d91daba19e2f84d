"""detect: pictures -> drawn pictures and one detections.json."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from entrypoints.options import (
    Command,
    export_option,
    gpus_option,
    max_detections_option,
    score_threshold_option,
)
from odml.errors import ConfigurationError, ImageError

if TYPE_CHECKING:
    from odml.batch_detection import Outcome
    from odml.tracking import Run

SHOWN_IMAGES = 8


@click.command(cls=Command)
@click.option(
    "--images",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    help="Folder of images, folders in it count too; or one image.",
)
@export_option
@score_threshold_option
@max_detections_option
@gpus_option
def detect(images: Path, export: str, score_threshold: float, max_detections: int, gpus: str) -> None:
    """Find objects in images and draw them."""
    _require_allowed(score_threshold, max_detections)
    paths, others = _images(images)
    from odml.gpus import choose

    choose(gpus)
    from odml.batch_detection import detect_in_files
    from odml.detector import Detector
    from odml.tracking import start_run

    with start_run("detect") as run:
        graph = run.input("export", export, operations=("export_and_freeze",), artifact="graph")
        for name, value in run.input_tags("export").items():
            if name in ("odml.model", "odml.step"):
                run.tag(name, value)
        output = run.artifact_folder("detected")
        outcome = detect_in_files(
            Detector.load(graph),
            paths,
            output.path,
            root=images if images.is_dir() else images.parent,
            score_threshold=score_threshold,
            max_detections=max_detections,
        )
        _log_first_images(run, output.path)
        counts = {"images": outcome.images, "detections": outcome.detections, "unreadable": len(outcome.unreadable)}
        run.log_metrics({f"detect/{name}": count for name, count in counts.items()} | {"detect/skipped": len(others)})
        click.echo(_summary(outcome, skipped=len(others), where=f"{run.artifact_uri}/detected"))
        if outcome.unreadable:
            lines = "".join(f"\n  {line}" for line in outcome.unreadable)
            raise ImageError(f"{images}: {len(outcome.unreadable)} of {len(paths)} images cannot be read:{lines}")


def _require_allowed(score_threshold: float, max_detections: int) -> None:
    if not 0 <= score_threshold <= 1:
        raise ConfigurationError(f"score_threshold: {score_threshold} is not in 0 to 1; give a number in that range")
    if max_detections < 1:
        raise ConfigurationError(f"max_detections: {max_detections} is below 1; give at least 1")


def _images(images: Path) -> tuple[list[Path], list[Path]]:
    """List the pictures to detect in, and the other files of the folder."""
    from odml.images import SUFFIXES, find_images

    if images.is_file():
        return [images], []
    paths, others = find_images(images)
    if not paths:
        raise ImageError(f"{images}: holds no image ({', '.join(SUFFIXES)}); pass another folder")
    return paths, others


def _log_first_images(run: Run, folder: Path) -> None:
    """Show some drawn pictures on the run's page."""
    from PIL import Image

    for step, path in enumerate(sorted(folder.rglob("*.png"))[:SHOWN_IMAGES]):
        with Image.open(path) as picture:
            run.log_image(picture, "detected", step=step)


def _summary(outcome: Outcome, *, skipped: int, where: str) -> str:
    others = f"; {skipped} other files were skipped" if skipped else ""
    return f"{outcome.detections} detections in {outcome.images} images: {where}{others}"


if __name__ == "__main__":
    detect()
