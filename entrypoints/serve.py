"""serve: a registered detector as a server for programs, and a page for people, until Ctrl-C."""

from __future__ import annotations

import socket
from contextlib import suppress

import click

from entrypoints.command import Command
from entrypoints.options import gpus_option
from odml.errors import ConfigurationError

MODEL = "models:/detector@champion"


@click.command(cls=Command)
@click.option(
    "--model", default=MODEL, show_default=True, help="A models:/ URI, or the folder of a model that MLflow has logged."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=5001, show_default=True, help="Port to serve at; 0: any free one."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to serve at; 0.0.0.0: for the whole network."
)
@gpus_option
def serve(model: str, port: int, host: str, gpus: str) -> None:
    """Serve a registered detector: a page at / to drop photos on, and MLflow's scoring protocol, until Ctrl-C."""
    from odml.gpus import choose

    choose(gpus)
    import uvicorn

    from odml import tracking
    from odml.serving.app import build, load

    with tracking.given_run("serve"), _listening(host, port) as listening:
        app = build(load(model), title=_title(model))
        address, number = listening.getsockname()[:2]
        click.echo(f"{model}: http://{f'[{address}]' if ':' in address else address}:{number}/ (Ctrl-C ends it)")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", limit_concurrency=256))
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
        click.echo("the server has ended")


def _title(model: str) -> str:
    """Call a registered model by its name; a folder is nothing to show to strangers."""
    return model.removeprefix("models:/") if model.startswith("models:/") else "Detector"


def _listening(host: str, port: int) -> socket.socket:
    """Take the port before the model is loaded, which takes a while."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family)
        # Connections inherit it. asyncio sets it only for sockets that name their protocol; without it the body of an
        # answer waits until the client has acknowledged the headers, some 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise ConfigurationError(
            f"host {host}, port {port}: {reason}; pass another with -P port= or -P host="
        ) from error


if __name__ == "__main__":
    serve()
