"""transfer_learn: a network from weights that were learned on other pictures."""

from __future__ import annotations

from typing import Any

import click

from entrypoints.command import Command
from entrypoints.options import configuration_of, training_options, weights_option


@click.command(cls=Command)
@training_options
@weights_option
def transfer_learn(print_config: bool, gpus: str, weights: str, **options: Any) -> None:
    """Fine-tune a network from pre-trained weights; Ctrl-C ends it, and what was learned is kept."""
    if print_config:
        click.echo(configuration_of(**options).to_yaml(), nl=False)
        return
    from odml.gpus import choose

    choose(gpus)
    from entrypoints.training_run import train_network

    train_network("transfer_learn", weights=weights, **options)


if __name__ == "__main__":
    transfer_learn()
