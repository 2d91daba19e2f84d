"""The whole chain on one set of annotated images: prepare, train, evaluate, export, register, detect."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from entrypoints.command import Command
from entrypoints.options import (
    batch_size_option,
    configuration_of,
    fix_option,
    format_option,
    gpus_option,
    model_option,
    name_option,
    on_error_option,
    print_config_option,
    require_source,
    seed_option,
    source_options,
    split_options,
    train_steps_option,
    weights_option,
)
from odml.errors import ConfigurationError
from odml.signals import StopSignals


@click.command(cls=Command)
@source_options
@format_option
@split_options
@on_error_option
@fix_option
@model_option
@click.option(
    "--operation",
    type=click.Choice(["transfer_learn", "train"]),
    default="transfer_learn",
    show_default=True,
    help="Start from weights, or from nothing.",
)
@weights_option
@train_steps_option
@batch_size_option
@seed_option
@gpus_option
@name_option
@click.option("--detect-images", default="", help="Folder of images to detect in; by default those it learned from.")
@print_config_option
def main(
    images: Path | None,
    annotations: Path | None,
    dataset: str,
    format: str,
    on_error: str,
    fix: str,
    model: str,
    operation: str,
    weights: str,
    train_steps: int,
    batch_size: str | int,
    seed: int,
    gpus: str,
    name: str,
    detect_images: str,
    print_config: bool,
    **split: object,
) -> None:
    """Run the whole chain, each step as a child run of this one.

    Ctrl-C during training ends the training, and the chain goes on with what was learned; a second one ends the
    chain.
    """
    if print_config:
        click.echo(configuration_of(model=model, batch_size=batch_size).to_yaml(), nl=False)
        return
    require_source(images, annotations, dataset)
    if detect_images and not Path(detect_images).is_dir():
        raise ConfigurationError(f"detect_images: there is no folder {detect_images}; give one, or leave it out")
    from odml import known_datasets, tracking

    start_from = {"weights": weights} if operation == "transfer_learn" else {}
    with tracking.start_run("main", model=model):
        source = {"dataset": dataset} if dataset else {"images": images, "annotations": annotations}
        prepared = _step("prepare", **source, format=format, on_error=on_error, fix=fix, seed=seed, **split)
        with StopSignals(on_request=_stop_children) as stop:
            trained = _step(
                operation,
                dataset=prepared,
                model=model,
                train_steps=train_steps,
                batch_size=batch_size,
                seed=seed,
                gpus=gpus,
                **start_from,
            )
        if stop:
            click.echo(f"{operation} was stopped ({stop.reason}); going on with what it has learned")
        _step("evaluate", trained_model=trained, gpus=gpus)
        exported = _step("export_and_freeze", trained_model=trained, gpus=gpus)
        learned_from = images or known_datasets.fetch(dataset)[0]
        _step("detect", images=detect_images or learned_from, export=exported, gpus=gpus)
        # Last: it fails where the new version is worse than the one that is served.
        _step("register", export=exported, name=name)


def _step(entry_point: str, **parameters: object) -> str:
    from odml import tracking

    run_id = tracking.child_run(entry_point, parameters)
    click.echo(f"{entry_point}: run {run_id}")
    return run_id


def _stop_children() -> None:
    """Pass a request to stop on to the running step: a SIGTERM may have reached this process alone."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process().children():
            child.terminate()


if __name__ == "__main__":
    main()
