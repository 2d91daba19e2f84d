"""Two workers of a training, as two processes that TF_CONFIG makes one."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import mlflow
import pytest

from odml import checkpoints
from tests import tiny
from tests.clusters import ending, start, tf_configs

pytestmark = pytest.mark.slow

MODEL = """
extends: ssd_mobilenet_v2
image_size: [64, 64]
depth_multiplier: 0.25
extra_layers: [32]
training: {warmup_steps: 1, batch_size: 2, checkpoint_every: 2}
"""
OBJECTS = [[("red", (10, 10, 60, 50))], [("green", (20, 5, 70, 55))], []]


def start_workers(*options: str) -> list[subprocess.Popen[str]]:
    return [start("entrypoints.train", *options, TF_CONFIG=each) for each in tf_configs(2)]


def wait_for_checkpoint(folder: Path, workers: list[subprocess.Popen[str]], *, after: int = 0) -> None:
    """Wait until there is one of a later step, or a worker ends."""
    deadline = time.monotonic() + 600
    while not any(checkpoints.list_steps(train)[-1:] > [after] for train in folder.glob("mlruns/*/artifacts/train")):
        assert time.monotonic() < deadline
        for worker in workers:
            assert worker.poll() is None, worker.communicate()[1]
        time.sleep(0.2)


def test_workers_stop_together_go_on_and_end_when_one_is_killed(tracking_store):
    (tracking_store / "tiny.yml").write_text(MODEL)
    examples = [tiny.serialize(objects, source_id=f"{number}.png") for number, objects in enumerate(OBJECTS)]
    tiny.write_dataset(tracking_store / "dataset", train=examples, val=examples)

    chief, other = workers = start_workers("--model", "tiny.yml", "--dataset", "dataset")
    with ending(workers):
        wait_for_checkpoint(tracking_store, workers)
        other.send_signal(signal.SIGTERM)
        (output, errors), (others, others_errors) = (worker.communicate(timeout=600) for worker in workers)
    assert (chief.returncode, other.returncode) == (0, 0), errors + others_errors
    (run,) = mlflow.search_runs(experiment_names=["tests"], output_format="list")
    step = int(run.data.tags["odml.stop_reason"].removeprefix("another worker step="))
    train = Path(run.info.artifact_uri, "train")
    assert output == f"another worker after step {step}: {train} (run {run.info.run_id})\n"
    assert others == f"SIGTERM after step {step}: the chief has the run\n"
    assert checkpoints.list_steps(train)[-1] == step
    assert "eval/coco/mAP" in run.data.metrics

    chief, other = workers = start_workers("--resume", run.info.run_id)
    with ending(workers):
        wait_for_checkpoint(tracking_store, workers, after=step)
        other.kill()
        output, errors = chief.communicate(timeout=600)
    message = (
        "another worker is gone; see why in its output, and start all of them again; with resume=RUN_ID they go on "
        "from the latest checkpoint"
    )
    assert (chief.returncode, output, errors.splitlines()[-1]) == (1, "", f"Error: {message}")
    (run,) = mlflow.search_runs(experiment_names=["tests"], output_format="list")
    assert (run.info.status, run.data.tags["odml.error"]) == ("FAILED", message)
    assert checkpoints.load(train, checkpoints.LATEST)[2] > step
