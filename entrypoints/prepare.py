"""prepare: annotated pictures -> records for training and validation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from entrypoints.command import Command
from entrypoints.options import (
    fix_option,
    format_option,
    on_error_option,
    require_source,
    seed_of,
    seed_option,
    source_options,
    split_options,
)

if TYPE_CHECKING:
    from odml.inspection.fitting import Fix
    from odml.records import Dataset


@click.command(cls=Command)
@source_options
@format_option
@split_options
@seed_option
@click.option("--output-prefix", default="", help="Beginning of the record files' names.")
@click.option(
    "--max-file-size",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Most megabytes in a record file; 0: no limit.",
)
@on_error_option
@fix_option
@click.option(
    "--output-dir",
    default="",
    help="Folder, or URI that TensorFlow writes to (gs://bucket/folder), that gets the records; the run then keeps "
    "only their description, and by default the records too.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=-1),
    default=-1,
    show_default=True,
    help="Processes that inspect and write at once, at most; -1: one a core. None is started that would take longer to "
    "start than to do its part.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "spark"]),
    default="local",
    show_default=True,
    help="Who inspects the images and writes the records: this machine, or Apache Spark (needs pyspark: the extra "
    "odml[spark]).",
)
@click.option(
    "--spark-master",
    default="local[*]",
    show_default=True,
    help="Spark's master, such as local[2] or spark://host:7077; its workers must reach the images and output_dir.",
)
def prepare(
    images: Path | None,
    annotations: Path | None,
    dataset: str,
    format: str,
    val_split: float,
    test_split: float,
    group_by: str,
    keep_alike: bool,
    ready_split: bool,
    train_list: str,
    val_list: str,
    test_list: str,
    seed: int,
    output_prefix: str,
    max_file_size: int,
    on_error: str,
    fix: Fix,
    output_dir: str,
    workers: int,
    engine: str,
    spark_master: str,
) -> None:
    """Check annotated pictures and turn them into records, split into training and validation."""
    from entrypoints.inspection_run import folder_name, log_inspection
    from odml import known_datasets, preparation
    from odml.annotations.list_files import choose_lists
    from odml.engines import find_engine
    from odml.inspection import inspect
    from odml.inspection.statistics import summarize
    from odml.tracking import start_run

    require_source(images, annotations, dataset)
    seed = seed_of(seed)
    preparation.require_room(output_dir, output_prefix=output_prefix)
    preparation.require_split(val_split=val_split, test_split=test_split, group_by=group_by)
    lists = choose_lists(train_list=train_list, val_list=val_list, test_list=test_list)
    with (
        find_engine(engine, workers=workers, spark_master=spark_master) as working,
        start_run("prepare") as run,
    ):
        run.log_parameters({"seed": seed, "val_split": val_split, "test_split": test_split, "group_by": group_by})
        if dataset:
            images, annotations = known_datasets.fetch(dataset)
        assert images  # as require_source has seen to
        assert annotations
        inspection = inspect(images, annotations, annotation_format=format, fix=fix, lists=lists, engine=working)
        statistics = summarize(inspection.annotations, digests=inspection.digests)
        name = dataset or folder_name(images)
        log_inspection(run, inspection, statistics, title=name)
        sources = preparation.by_source_id(preparation.usable_annotations(inspection, on_error=on_error), images)
        follows = bool(inspection.split_origin) and (ready_split or bool(lists))
        if follows:
            split = preparation.ready_split(sources, inspection)
        else:
            split = preparation.split_sources(
                sources,
                val_split=val_split,
                test_split=test_split,
                seed=seed,
                group_by=group_by,
                looks=inspection.looks if keep_alike else inspection.digests,
            )
        run.tag("odml.data.split", inspection.split_origin if follows else "drawn")
        sources = sources.only(split)
        written = preparation.write_dataset(
            sources,
            split,
            run.artifact_folder("dataset").path,
            seed=seed,
            name=name,
            output_prefix=output_prefix,
            max_file_size=max_file_size,
            records_folder=output_dir,
            engine=working,
        )
        run.log_metrics(preparation.metrics(sources, split))
        run.log_table(preparation.class_table(sources, split), "class_counts.json")
        run.log_picture(preparation.sample_sheet(sources, written.label_map, seed=seed), "samples.png")
        run.log_dataset(written.name, digest=written.digest, source=images, context="preparation")
        run.tag("odml.data.digest", written.digest)
    click.echo(
        f"{_sizes(written)} images with "
        f"{len(written.label_map)} classes: {output_dir or f'{run.artifact_uri}/dataset'} (digest {written.digest})"
    )


def _sizes(dataset: Dataset) -> str:
    train, val, test = dataset.train_examples, dataset.val_examples, dataset.test_examples
    return f"{train} training, {val} validation and {test} test" if test else f"{train} training and {val} validation"


if __name__ == "__main__":
    prepare()
