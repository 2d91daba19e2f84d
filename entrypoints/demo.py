"""demo: the whole job on pictures that odml draws itself, for a first look without data or network."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from entrypoints.command import Command
from odml.errors import OdmlError

IMAGES = 1500
UNSEEN_IMAGES = 40
VAL_SPLIT = 10  # percent
MODEL = "ssd_mobilenet_v2_shapes"
STEPS = 2000
BATCH_SIZE = 16
SEED = 1
NAME = "shapes_detector"
LEAST_MAP_50 = 0.5
SECONDS_TO_START = 180


@click.command(cls=Command)
def demo() -> None:
    """Draw a data set of shapes, take it through the whole chain, and ask the served detector once."""
    from odml import known_datasets, tracking

    started = time.monotonic()
    with tracking.start_run("demo", model=MODEL) as run:
        folder = run.artifact_folder("shapes").path
        images, annotations = known_datasets.draw_shapes(folder, images=IMAGES, seed=SEED)
        unseen, _ = known_datasets.draw_shapes(folder / "unseen", images=UNSEEN_IMAGES, seed=SEED + 1)
        click.echo(f"drew {IMAGES} pictures of shapes, and {UNSEEN_IMAGES} to detect in: {folder}")
        data = {"images": images, "annotations": annotations, "val_split": VAL_SPLIT, "detect_images": unseen}
        recipe = {"operation": "train", "model": MODEL, "train_steps": STEPS, "batch_size": BATCH_SIZE, "seed": SEED}
        tracking.child_run("main", data | recipe | {"name": NAME})
        with _served(f"models:/{NAME}@champion") as address:
            answer = _ask(address, min(unseen.iterdir()))
        click.echo(f"the served detector answers: {json.dumps(answer['predictions'][0])}")
        evaluation, detection = run.latest("evaluate", tags={}), run.latest("detect", tags={})
        assert evaluation
        assert detection
        metrics = tracking.run_metrics(evaluation)
        run.log_metrics(metrics)
        detected = f"{tracking.artifact_uri(detection)}/detected"
    click.echo(f"pictures with what was detected: {detected}\nevery step with its metrics and files: make ui")
    score, minutes = metrics["eval/coco/mAP_50"], (time.monotonic() - started) / 60
    click.echo(f"demo: mAP@.5={score:.3f} mAP={metrics['eval/coco/mAP']:.3f} steps={STEPS} minutes={minutes:.1f}")
    if score < LEAST_MAP_50:
        raise OdmlError(f"demo: mAP@.5 is {score:.3f}, below {LEAST_MAP_50}; run it again, or report it")


@contextmanager
def _served(model_uri: str) -> Iterator[str]:
    """Serve a model with MLflow's own command while the block runs, and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["mlflow", "models", "serve", "-m", model_uri, "--env-manager", "local", "--port", str(port)]
    click.echo(f"$ {' '.join(command)}")
    server = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"http://127.0.0.1:{port}/ping", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(1)
    raise OdmlError(f"{address}: the served model does not answer; run the command above to see why")


def _ask(address: str, picture: Path) -> Any:
    image = base64.b64encode(picture.read_bytes()).decode()
    body = {"dataframe_split": {"columns": ["image"], "data": [[image]]}, "params": {"score_threshold": 0.5}}
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


if __name__ == "__main__":
    demo()
