"""The end of a process that has no time left to end in good order."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import mlflow
from mlflow import MlflowClient

from odml.tracking.stores import prepare_client

_PROGRAM = "import sys; from odml.tracking import last_words; last_words.fail(*sys.argv[1:])"


def end_at_once(run_id: str | None, message: str) -> NoReturn:
    """End this process with exit code 1, whatever its threads do, and mark its run FAILED, as ``start_run`` would.

    Its memory is free at once: the same process goes on as a program that only does that.

    Args:
        run_id: None if the process has no run.
        message: for the tag ``odml.error``.
    """
    if run_id is None:
        os._exit(1)
    # Not as an argument: those are for everybody to see, and a database's address holds its password.
    os.environ["MLFLOW_TRACKING_URI"] = mlflow.get_tracking_uri()
    os.execv(sys.executable, [sys.executable, "-c", _PROGRAM, run_id, message])


def fail(run_id: str, message: str) -> NoReturn:
    """Mark a run FAILED and exit with 1."""
    prepare_client()
    client = MlflowClient()
    client.set_tag(run_id, "odml.error", message)
    client.set_terminated(run_id, "FAILED")
    sys.exit(1)
