"""inspect: annotated pictures -> what they hold, and what is wrong with them."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from entrypoints.command import Command
from entrypoints.options import (
    DEFAULT_MODEL,
    fix_option,
    format_option,
    list_options,
    require_source,
    seed_of,
    seed_option,
    source_options,
)

if TYPE_CHECKING:
    from odml.architectures import Architecture
    from odml.config import Configuration
    from odml.inspection import Inspection
    from odml.inspection.fitting import Fix
    from odml.inspection.statistics import AnchorMatch, Statistics
    from odml.tracking import Run

PREVIEWED = 16
_MOST_WRITTEN = 200  # pictures that are written as records for the preview


@click.command(cls=Command)
@source_options
@format_option
@list_options
@fix_option
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help="A model, or a YAML file that extends one, whose anchors are compared with the objects; empty: none is.",
)
@click.option(
    "--preview",
    type=click.BOOL,
    default=False,
    show_default=True,
    help="Log training images as the model will see them, augmented, with their boxes (true, false).",
)
@seed_option
def inspect(
    images: Path | None,
    annotations: Path | None,
    dataset: str,
    format: str,
    train_list: str,
    val_list: str,
    test_list: str,
    fix: Fix,
    model: str,
    preview: bool,
    seed: int,
) -> None:
    """Look for problems in annotated images and count what they hold; no file is changed."""
    from entrypoints.inspection_run import folder_name, log_inspection
    from odml import config, inspection, known_datasets, tracking
    from odml.annotations.list_files import choose_lists
    from odml.errors import ConfigurationError
    from odml.inspection.statistics import summarize

    require_source(images, annotations, dataset)
    if preview and not model:
        raise ConfigurationError("preview: needs the model that is to see the images; give model too")
    configuration = config.load(model) if model else None
    lists = choose_lists(train_list=train_list, val_list=val_list, test_list=test_list)
    seed = seed_of(seed)
    with tracking.start_run("inspect", model=model or None) as run:
        run.log_parameters({"fix": fix, "seed": seed})
        if dataset:
            images, annotations = known_datasets.fetch(dataset)
        assert images  # as require_source has seen to
        assert annotations
        found = inspection.inspect(images, annotations, annotation_format=format, fix=fix, lists=lists)
        network = _build(configuration) if configuration else None
        anchors = _match_anchors(found, network, Path(model).stem) if network else None
        statistics = summarize(found.annotations, digests=found.digests, anchors=anchors)
        log_inspection(run, found, statistics, title=dataset or folder_name(images))
        if preview and network and statistics.classes:
            _log_preview(run, found, network, images=images, seed=seed)
    click.echo(_summary(found, statistics, f"{run.artifact_uri}/inspection/report.html"))


def _build(configuration: Configuration) -> Architecture:
    from odml import architectures

    return architectures.build(configuration, 1)


def _match_anchors(found: Inspection, network: Architecture, name: str) -> AnchorMatch | None:
    from odml import suitability

    return suitability.match_anchors(found.annotations, network, name=name)


def _log_preview(run: Run, found: Inspection, network: Architecture, *, images: Path, seed: int) -> None:
    from odml import preparation, preview

    with_objects = [annotation for annotation in found.annotations if annotation.names]
    annotations = random.Random(seed).sample(with_objects, min(_MOST_WRITTEN, len(with_objects)))
    sheet = preview.draw_training_pictures(
        preparation.by_source_id(annotations, images),
        pictures=PREVIEWED,
        resize=network.resize,
        augment=network.configuration.training.augmentation,
        seed=seed,
    )
    run.log_picture(sheet, "inspection/preview.png")


def _summary(found: Inspection, statistics: Statistics, page: str) -> str:
    """Say what was found: numbers, a line a kind of problem, the errors and what was mended, the advice, the page."""
    kinds = Counter((problem.severity, problem.kind) for problem in found.problems)
    images, objects, classes = len(statistics.image_sizes), len(statistics.sizes), len(statistics.classes)
    lines = [f"{images} usable images, {objects} objects, classes: {classes}"]
    if anchors := statistics.anchors:
        lines.append(
            f"{anchors.share:.1%} of the objects overlap an anchor of {anchors.model} by {anchors.threshold} or more"
        )
    lines += [f"{severity}: {kind}: {count}" for (severity, kind), count in sorted(kinds.items())]
    lines += [f"{problem.severity}: {problem}" for problem in (*found.errors, *found.mended)]
    return "\n".join([*lines, *statistics.advice(), page])


if __name__ == "__main__":
    inspect()
