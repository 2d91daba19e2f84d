"""How the command of an entry point starts and fails."""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import nullcontext
from typing import Any

import click

from odml.errors import OdmlError
from odml.signals import interruptible


class Command(click.Command):
    """A command that says what the user can fix in one line, with exit code 1.

    An OdmlError becomes ``Error: MESSAGE`` on stderr; any other exception keeps its traceback. Ctrl-C, SIGTERM and
    SIGHUP end the command through KeyboardInterrupt, so that its MLflow run ends too.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with logging set up; called by click."""
        _set_environment()
        _set_logging()
        # Signal handlers can only be set in the main thread.
        stoppable = threading.current_thread() is threading.main_thread()
        try:
            with interruptible() if stoppable else nullcontext():
                return super().invoke(ctx)
        except OdmlError as error:
            raise click.ClickException(str(error)) from error


def _set_environment() -> None:
    """Keep TensorFlow's start-up chatter off the screen, and Keras on TensorFlow, unless the user says otherwise."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def _set_logging() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for ours in ("odml", "entrypoints"):
        logging.getLogger(ours).setLevel(logging.INFO)
    # It warns at every attempt to reach a server that is down; odml.tracking warns once.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
