from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import psutil
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from odml.tracking import Run, start_run

ROOT = Path(__file__).parents[2]
IMPATIENT = "from entrypoints import tensorboard as module; module.REFRESH_SECONDS = 0.1; module.tensorboard()"


def log_loss(run: Run) -> str:
    """Write an event file as a training does; give the name that TensorBoard has for the run."""
    path = run.artifact_folder("tensorboard").path / "events.out.tfevents.1"
    with path.open("wb") as file:
        writer = RecordWriter(file)
        loss = Summary(value=[Summary.Value(tag="train/loss/total", simple_value=1.0)])
        for event in (Event(file_version="brain.Event:2"), Event(wall_time=1.0, step=1, summary=loss)):
            writer.write(event.SerializeToString())
    return f"train ssd {run.id[:8]}"


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def serve(tracking_store: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start the command, with the folder "temporary" for what it leaves."""
    started: list[subprocess.Popen] = []
    (tracking_store / "temporary").mkdir()

    def start(*options: str) -> subprocess.Popen:
        command = [sys.executable, "-W", "ignore", "-c", IMPATIENT, *options]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tracking_store / "temporary")}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_trainings_are_served_also_those_that_begin_later_and_nothing_is_left(serve, tracking_store):
    with start_run("train", model="ssd") as run:
        first = log_loss(run)
    process = serve("--port", "0")
    announced = process.stdout.readline()
    url = re.fullmatch(r"TensorBoard of experiment tests: (http://127.0.0.1:\d+/) \(Ctrl-C ends it\)\n", announced)
    assert url, announced + process.stderr.read()

    def shown() -> set[str]:
        with urllib.request.urlopen(f"{url[1]}data/runs") as answer:
            return set(json.load(answer))

    wait_until(lambda: shown() == {first})
    with start_run("train", model="ssd") as run:
        second = log_loss(run)
        wait_until(lambda: shown() == {first, second})
        with urllib.request.urlopen(f"{url[1]}data/plugin/scalars/tags") as answer:
            assert set(json.load(answer)[second]) == {"train/loss/total"}
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=180) == 0, process.stderr.read()
    # Not by communicate(): what was read ahead with the first line would be lost.
    assert process.stdout.read() == f"shows {first}\nshows {second}\nTensorBoard has ended\n"
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert list((tracking_store / "temporary").iterdir()) == []
    runs = mlflow.search_runs(experiment_names=["tests"], output_format="list")
    assert {run.data.tags["odml.operation"] for run in runs} == {"train"}


@pytest.mark.slow
def test_port_that_is_taken_is_an_error(serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = serve("--port", str(port))
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == (
        f"Error: host 127.0.0.1, port {port}: TensorBoard could not bind to port {port}, it was already in use; "
        "pass another with -P port= or -P host="
    )
