from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import mlflow

from odml.tracking import start_run

ROOT = Path(__file__).parents[2]
PROGRAM = """
import threading, sys
from odml.tracking import end_at_once

threading.Timer(0.1, end_at_once, [sys.argv[1] or None, "no memory"]).start()
threading.Event().wait(60)
"""


def end(run_id: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, run_id]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_run_of_a_process_that_ends_at_once_has_failed(tracking_store):
    with start_run("train") as run:
        ended = end(run.id)
        found = mlflow.get_run(run.id)
    assert (ended.returncode, found.info.status) == (1, "FAILED"), ended.stderr
    assert found.data.tags["odml.error"] == "no memory"
    assert found.info.end_time <= time.time() * 1000


def test_process_without_a_run_ends_at_once_too():
    ended = end("")
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "")
