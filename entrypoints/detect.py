"""detect: pictures -> drawn pictures, a gallery, and what was found in the forms that are asked for."""

from __future__ import annotations

from pathlib import Path

import click

from entrypoints.command import Command
from entrypoints.options import OptionalPath, export_option, gpus_option, max_detections_option, score_threshold_option


@click.command(cls=Command)
@click.option(
    "--images",
    required=True,
    help="Folder of images, folders in it count too; or an image, a video, a glob, an address (http, https), a .txt "
    "list of these, or - for a list on standard input.",
)
@export_option
@click.option(
    "--outputs",
    default="drawn,gallery,json",
    show_default=True,
    help="What to write, with commas between: drawn, gallery, json, jsonl, csv, coco, pascal_voc, yolo, crops.",
)
@click.option(
    "--output-dir",
    default="",
    help="Folder for what is written, which must be empty or skip_existing; the run's artifacts by default.",
)
@click.option(
    "--skip-existing",
    type=click.BOOL,
    default=False,
    show_default=True,
    help="Go on in output_dir: pass over the images that were detected in there before (true, false).",
)
@score_threshold_option
@max_detections_option
@click.option("--classes", default="", help="Names of the classes to keep, with commas between; all by default.")
@click.option(
    "--nms-iou",
    type=float,
    default=-1.0,
    show_default=True,
    help="Of detections of one class that overlap by more than this IoU, keep only the best; -1: as the detector does.",
)
@click.option(
    "--tiles",
    default="",
    help="Look for small objects in overlapping tiles too: columns x rows, such as 3x2, or a tile's side in pixels, "
    "such as 640.",
)
@click.option(
    "--tile-overlap", type=float, default=0.2, show_default=True, help="Share of a tile's side that neighbours share."
)
@click.option("--frame-step", type=int, default=1, show_default=True, help="Take every n-th frame of a video.")
@click.option(
    "--annotations",
    type=OptionalPath(exists=True, path_type=Path),
    default=None,
    help="Annotations of the images, to be drawn beside what is detected: a folder, or a COCO or YOLO file.",
)
@gpus_option
def detect(
    images: str, export: str, outputs: str, output_dir: str, skip_existing: bool, gpus: str, **others: object
) -> None:
    """Find objects in images, draw them, and write them for other programs."""
    from entrypoints import detection_run
    from odml.detection_outputs import parse_outputs

    wanted = detection_run.Wanted(images, parse_outputs(outputs), output_dir, skip_existing, **others)  # type: ignore[arg-type]
    wanted.require_allowed()
    from odml.gpus import choose

    choose(gpus)
    detection_run.detect(wanted, export=export)


if __name__ == "__main__":
    detect()
