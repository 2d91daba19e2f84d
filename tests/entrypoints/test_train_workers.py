"""A training of two workers, two processes that TF_CONFIG makes one, against that of a single process."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pytest
from click.testing import CliRunner
from mlflow.entities import Run

from entrypoints.train import train
from odml import checkpoints
from odml.architectures import by_slim_name
from tests import tiny
from tests.clusters import ending, start, tf_configs
from tests.conftest import store_in

pytestmark = pytest.mark.slow

OBJECTS = [
    [("red", (10, 10, 60, 50))],
    [("green", (20, 5, 70, 55))],
    [("red", (5, 5, 30, 30)), ("green", (40, 20, 75, 55))],
    [("green", (0, 0, 40, 60))],
]
OPTIONS = ["--dataset", "dataset", "--batch-size", "4", "--seed", "5", "--eval-examples", "2"]
# Each worker normalises by its own pictures, so that a training with batches' statistics is another one.
STEPS = {"fixed": 12, "batches": 1}


@dataclass(frozen=True)
class Ended:
    """What two workers and a single process have left of the same training."""

    workers: tuple[subprocess.CompletedProcess[str], ...]
    chief: Run
    single: Run


@contextmanager
def started(name: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Start two workers."""
    options = ["--model", f"{name}.yml", "--train-steps", str(STEPS[name]), *OPTIONS]
    workers = [start("entrypoints.train", *options, TF_CONFIG=each) for each in tf_configs(2)]
    with ending(workers):
        yield workers


def run_of(output: str) -> Run:
    return mlflow.get_run(output.rpartition("(run ")[2].rstrip(")\n"))


@pytest.fixture(scope="module")
def ended(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    folder = tmp_path_factory.mktemp("workers")
    with store_in(folder, empty_store):
        examples = [tiny.serialize(objects, source_id=f"{number}.png") for number, objects in enumerate(OBJECTS)]
        tiny.write_dataset(folder / "dataset", train=examples, val=examples)
        (folder / "batches.yml").write_text(f"{tiny.MODEL}  average_decay: 0\n")
        (folder / "fixed.yml").write_text(f"{tiny.MODEL}batch_norm: {{train: false}}\n")
        found = {}
        with started("fixed") as fixed, started("batches") as batches:
            for name, workers in {"fixed": fixed, "batches": batches}.items():
                options = ["--model", f"{name}.yml", "--train-steps", str(STEPS[name]), *OPTIONS]
                single = CliRunner().invoke(train, options)
                assert single.exit_code == 0, single.output
                outputs = [worker.communicate(timeout=600) for worker in workers]
                assert [worker.returncode for worker in workers] == [0, 0], outputs
                completed = tuple(
                    subprocess.CompletedProcess(worker.args, worker.returncode, *output)
                    for worker, output in zip(workers, outputs, strict=True)
                )
                found[name] = Ended(completed, run_of(completed[0].stdout), run_of(single.stdout))
        runs = mlflow.search_runs(experiment_names=["tests"], output_format="list")
        # Two by a single process, two by a chief, none by another worker.
        assert len(runs) == 4
        yield found


def history(run: Run, metric: str) -> list[float]:
    return [each.value for each in mlflow.MlflowClient().get_metric_history(run.info.run_id, metric)]


def test_chief_has_the_run_and_the_other_worker_says_so(ended):
    chief, other = ended["fixed"].workers
    run = ended["fixed"].chief
    assert chief.stdout == f"finished after step 12: {run.info.artifact_uri}/train (run {run.info.run_id})\n"
    assert other.stdout == "finished after step 12: the chief has the run\n"
    assert (run.info.status, run.data.tags["odml.stop_reason"]) == ("FINISHED", "finished step=12")


@pytest.mark.parametrize("metric", ["train/loss/total", "train/gradient_norm", "eval/coco/mAP"])
def test_losses_and_scores_are_those_of_one_process_with_the_whole_batch(ended, metric):
    alone, together = history(ended["fixed"].single, metric), history(ended["fixed"].chief, metric)
    assert len(alone) == (1 if metric.startswith("eval/") else 2)
    assert together == pytest.approx(alone, rel=1e-4)


def moving_means(run: Run) -> np.ndarray:
    """Give the moving mean that the first normalisation has in the checkpoint."""
    network, _, _ = checkpoints.load(Path(run.info.artifact_uri, "train"))
    name = next(name for name in by_slim_name(network.variables) if name.endswith("/Conv/BatchNorm/moving_mean"))
    return by_slim_name(network.variables)[name].numpy()


def test_moving_statistics_are_those_of_all_pictures_not_of_the_chiefs_alone(ended):
    alone, together = moving_means(ended["batches"].single), moving_means(ended["batches"].chief)
    # Of the first layer the mean over both halves of a batch is the whole one's; it began with zero.
    assert np.abs(alone).max() > 1e-4
    assert together == pytest.approx(alone, rel=1e-4, abs=1e-7)
