"""train: a network from random weights."""

from __future__ import annotations

from typing import Any

import click

from entrypoints.command import Command
from entrypoints.options import configuration_of, training_options


@click.command(cls=Command)
@training_options
def train(print_config: bool, gpus: str, **options: Any) -> None:
    """Train a network from random weights, for data unlike photos or sets of many thousand images."""
    if print_config:
        click.echo(configuration_of(**options).to_yaml(), nl=False)
        return
    from odml.gpus import choose

    choose(gpus)
    from entrypoints.training_run import train_network

    train_network("train", weights="none", **options)


if __name__ == "__main__":
    train()
