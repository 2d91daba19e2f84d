"""tensorboard: TensorBoard over all trainings of the experiment."""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from entrypoints.command import Command
from odml.errors import ConfigurationError, TrackingError

if TYPE_CHECKING:
    from odml.tracking import EventFolders

logger = logging.getLogger(__name__)

OPERATIONS = ("train", "transfer_learn")
REFRESH_SECONDS = 10.0


@click.command(cls=Command)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=6006, show_default=True, help="Port to serve at; 0: any free one."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to serve at; 0.0.0.0: for the whole network."
)
def tensorboard(port: int, host: str) -> None:
    """Show all trainings of the experiment in TensorBoard, also those that go on, until Ctrl-C."""
    from odml import tracking

    prefix = "odml-tensorboard-"
    with tracking.given_run("tensorboard"), tempfile.TemporaryDirectory(prefix=prefix) as folder:
        events = tracking.EventFolders(Path(folder), OPERATIONS)
        names = events.refresh()
        url = _serve(folder, host=host, port=port)
        click.echo(f"TensorBoard of experiment {events.experiment.name}: {url} (Ctrl-C ends it)")
        for name in names:
            click.echo(f"shows {name}")
        try:
            _follow(events, names)
        except KeyboardInterrupt:
            click.echo("TensorBoard has ended")


def _serve(folder: str, *, host: str, port: int) -> str:
    """Serve the folder in a thread that ends with this process, and give the address."""
    from tensorboard import default, program
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin

    # Nobody projects here, and only this one would import TensorFlow, which takes the cores from a training.
    server = program.TensorBoard([plugin for plugin in default.get_plugins() if plugin is not ProjectorPlugin])
    server.configure(argv=("",), logdir=folder, host=host, port=port)
    try:
        return server.launch()
    except (program.TensorBoardServerException, OSError) as error:
        raise ConfigurationError(
            f"host {host}, port {port}: {error}; pass another with -P port= or -P host="
        ) from error


def _follow(events: EventFolders, names: list[str]) -> None:
    """Look for new runs and events until interrupted."""
    warned = False
    while True:
        time.sleep(REFRESH_SECONDS)
        try:
            now = events.refresh()
        except TrackingError as error:
            if not warned:
                logger.warning("%s; it is tried again", error)
            warned = True
            continue
        for name in sorted(set(now) - set(names)):
            click.echo(f"shows {name}")
        names, warned = now, False


if __name__ == "__main__":
    tensorboard()
