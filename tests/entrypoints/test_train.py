from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click
import keras
import mlflow
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner, Result
from mlflow.entities import Run
from tensorboard.compat.proto import event_pb2

from entrypoints.train import train
from entrypoints.transfer_learn import transfer_learn
from odml import checkpoints, config
from odml.records import Dataset
from tests import tiny
from tests.conftest import store_in

ROOT = Path(__file__).parents[2]
OF_THE_MACHINE = ("odml.version", "odml.host", "odml.process")
THREE_STEPS = ("--train-steps", "3", "--checkpoint-every", "2", "--learning-rate", "0.125")
OBJECTS = [[("red", (10, 10, 60, 50))], [("green", (20, 5, 70, 55))], []]


def prepare(folder: Path) -> Dataset:
    """Write three pictures, to train on and to measure by, and a tiny.yml."""
    (folder / "tiny.yml").write_text(tiny.MODEL)
    examples = [tiny.serialize(objects, source_id=f"{number}.png") for number, objects in enumerate(OBJECTS)]
    return tiny.write_dataset(folder / "dataset", train=examples, val=examples)


@pytest.fixture
def dataset(tracking_store: Path) -> Dataset:
    return prepare(tracking_store)


def run(*options: str, command: click.Command = train) -> Result:
    arguments = ["--model", "tiny.yml", "--dataset", "dataset", "--batch-size", "2", "--seed", "5", *options]
    return CliRunner().invoke(command, arguments)


def latest_run() -> Run:
    return mlflow.search_runs(experiment_names=["tests"], output_format="list")[0]


def steps_of(metric: str) -> list[int]:
    return [each.step for each in mlflow.MlflowClient().get_metric_history(latest_run().info.run_id, metric)]


@dataclass(frozen=True)
class Training:
    """A training of three steps that has ended, and what is left of it."""

    dataset: Dataset
    result: Result
    run: Run
    steps: dict[str, list[int]]

    @property
    def artifacts(self) -> Path:
        return Path(self.run.info.artifact_uri)

    @property
    def model(self) -> str:
        return str(self.dataset.folder.parent / "tiny.yml")


@pytest.fixture(scope="module")
def finished(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    folder = tmp_path_factory.mktemp("finished")
    with store_in(folder, empty_store):
        dataset = prepare(folder)
        result = run(*THREE_STEPS)
        assert result.exit_code == 0, result.output
        steps = {name: steps_of(name) for name in ("train/loss/total", "eval/coco/mAP")}
        return Training(dataset, result, latest_run(), steps)


def test_training_ends_by_saying_where_its_checkpoints_are(finished):
    assert finished.result.stdout == (
        f"finished after step 3: {finished.artifacts}/train (run {finished.run.info.run_id})\n"
    )
    assert checkpoints.list_steps(finished.artifacts / "train") == [2, 3]
    assert finished.run.info.status == "FINISHED"


def test_precision_for_gpus_is_warned_about_where_there_is_none(dataset, caplog):
    (dataset.folder.parent / "mixed.yml").write_text("extends: tiny.yml\ntraining: {precision: mixed_float16}\n")
    result = run("--model", "mixed.yml", "--train-steps", "1")
    assert result.exit_code == 0, result.output
    assert [message for message in caplog.messages if "precision" in message] == [
        "training.precision: mixed_float16 is for GPUs, and TensorFlow sees none here; most CPUs are slower with it "
        "than with float32"
    ]


def test_run_is_tagged_with_what_it_was_and_came_from(finished):
    tags = {name: value for name, value in finished.run.data.tags.items() if name.startswith("odml.")}
    assert {name: tags[name] for name in tags if name not in OF_THE_MACHINE} == {
        "odml.operation": "train",
        "odml.model": "tiny.yml",
        "odml.input.dataset": str(finished.dataset.folder),
        "odml.data.digest": finished.dataset.digest,
        "odml.evaluated_images": "3",
        "odml.stop_reason": "finished step=3",
    }


def test_losses_and_scores_are_logged_with_their_steps(finished):
    assert finished.steps == {"train/loss/total": [3], "eval/coco/mAP": [2, 3]}
    assert finished.run.data.metrics["train/learning_rate"] == 0


def test_pictures_are_logged_from_before_the_first_step_on(finished):
    names = {path.name.split("+timestamp")[0] for path in (finished.artifacts / "images").iterdir()}
    series = {name for name in names if name.startswith("eval~image_0")}
    assert series == {f"eval~image_0+step+{step}" for step in (0, 2, 3)}


def test_configuration_and_data_set_are_logged(finished):
    params = finished.run.data.params
    assert (params["cfg.training.batch_size"], params["cfg.training.learning_rate"]) == ("2", "0.125")
    assert (params["cfg.image_size"], params["cfg.seed"]) == ("[64, 64]", "5")
    written = config.load(str(finished.artifacts / "config.yml"))
    assert written == config.load(finished.model).with_training(batch_size=2, learning_rate=0.125, checkpoint_every=2)
    (used,) = finished.run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("tiny", finished.dataset.digest[:36])


def test_tensorboard_has_the_same_scalars(finished):
    (events,) = (finished.artifacts / "tensorboard").iterdir()
    scalars = set()
    for record in tf.data.TFRecordDataset(str(events)):
        event = event_pb2.Event.FromString(record.numpy())
        scalars |= {(value.tag, event.step) for value in event.summary.value}
    assert {("train/loss/total", 3), ("train/learning_rate", 3), ("eval/coco/mAP_50", 2)} <= scalars


@pytest.mark.slow
def test_same_seed_trains_the_same_network(finished, dataset):
    run(*THREE_STEPS, "--eval-examples", "1")
    # Kernels that run in parallel add in any order.
    expected = finished.run.data.metrics["train/loss/total"]
    assert latest_run().data.metrics["train/loss/total"] == pytest.approx(expected, rel=1e-4)


def test_batch_size_is_found(dataset, tracking_store):
    assert run("--train-steps", "1", "--batch-size", "auto").exit_code == 0
    assert latest_run().data.params["cfg.training.batch_size"] == "8"


def test_data_set_without_validation_records_is_trained_without_measuring(dataset, tracking_store):
    tiny.write_dataset(tracking_store / "all", train=[tiny.serialize(OBJECTS[0])])
    result = run("--train-steps", "1", "--dataset", "all")
    assert result.exit_code == 0, result.output
    assert not any(name.startswith("eval/") for name in latest_run().data.metrics)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--train-steps", "0"], "steps: 0 is not a number of steps; give 1 or more"),
        (["--eval-every", "0"], "eval_every: 0 is not a number of steps; give 1 or more"),
        (["--batch-size", "0"], "parameters: training.batch_size: Input should be greater than 0 (found 0)"),
        (
            ["--model", "none.yml"],
            "none.yml: cannot be read (No such file or directory); pass a model's name or a .yml file",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_parameter_that_is_not_allowed_makes_no_run(dataset, options, message):
    result = run(*options)
    assert (result.exit_code, result.stderr) == (1, f"Error: {message}\n")
    assert mlflow.search_runs(experiment_names=["tests"], output_format="list") == []


def test_loss_that_is_no_number_fails_the_run_and_says_so(dataset):
    result = run("--train-steps", "9", "--learning-rate", "1e30")
    assert result.exit_code == 1
    assert re.search(r"^Error: step \d: the loss or its gradient is not a finite number", result.stderr, re.MULTILINE)
    found = latest_run()
    assert found.info.status == "FAILED"
    assert found.data.tags["odml.error"].startswith("step ")
    assert checkpoints.list_steps(Path(found.info.artifact_uri, "train")) == []


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
def test_transfer_learning_starts_from_the_weights(dataset, tracking_store):
    (tracking_store / "tiny.yml").write_text(tiny.MODEL.replace("0.25", "1.0"))
    source = keras.applications.MobileNetV2(input_shape=(96, 96, 3), include_top=False, weights=None)
    source.save_weights("mine.weights.h5")
    result = run(
        "--train-steps", "1", "--weights", "mine.weights.h5", "--learning-rate", "1e-9", command=transfer_learn
    )
    assert result.exit_code == 0, result.output
    found = latest_run()
    assert found.data.tags["odml.operation"] == "transfer_learn"
    network, _, _ = checkpoints.load(Path(found.info.artifact_uri, "train"))
    assert np.allclose(network.variables[0].numpy(), source.get_layer("Conv1").kernel.numpy(), atol=1e-5)


@pytest.mark.slow
def test_training_that_is_to_be_quantized_says_so_to_its_export(dataset):
    assert run("--train-steps", "1", "--quantize", "true").exit_code == 0
    assert latest_run().data.tags["odml.quantize"] == "true"


def test_two_stage_network_cannot_be_quantized(dataset):
    result = run("--model", "faster_rcnn_resnet50", "--quantize", "true")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: faster_rcnn: TensorFlow Lite has no operations")
    assert mlflow.search_runs(experiment_names=["tests"], output_format="list") == []


@pytest.fixture
def again(finished, tracking_store) -> Training:
    """The training that has ended, in a store of this test's own."""
    shutil.copy(Path(finished.dataset.folder.parent, "mlflow.db"), tracking_store / "mlflow.db")
    return finished


@pytest.mark.slow
def test_training_goes_on_in_its_own_run_without_a_gap_or_a_double(dataset):
    assert run("--train-steps", "10", "--checkpoint-every", "5", "--eval-examples", "2").exit_code == 0
    first = latest_run()
    # As after a kill -9 between two checkpoints: what was logged meanwhile is logged already.
    train_folder = Path(first.info.artifact_uri, "train")
    for path in train_folder.glob("model.ckpt-10.*"):
        path.unlink()
    mlflow.MlflowClient().set_tag(first.info.run_id, "odml.error", "killed")
    result = CliRunner().invoke(train, ["--resume", first.info.run_id, "--train-steps", "20"])
    assert result.exit_code == 0, result.output
    found = mlflow.get_run(first.info.run_id)
    assert result.stdout.startswith("finished after step 20: ")
    assert found.info.status == "FINISHED"
    assert (found.data.tags["odml.stop_reason"], "odml.error" in found.data.tags) == ("finished step=20", False)
    assert steps_of("train/loss/total") == [10, 20]
    assert steps_of("eval/coco/mAP") == [5, 10, 15, 20]
    assert {5, 10, 15, 20} <= set(checkpoints.list_steps(train_folder))
    assert len(mlflow.search_runs(experiment_names=["tests"], output_format="list")) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "3"], "seed: a resumed training keeps its own; leave it out, or start anew with weights=RUN_ID"),
        (["--model", "tiny.yml"], "model: a resumed training keeps its own"),
        (["--dataset", "dataset"], "dataset: a resumed training keeps its own"),
        (["--batch-size", "8"], "batch_size: a resumed training keeps its own"),
        (["--train-steps", "3"], "train_steps: 3 steps are trained already, of 3; give more"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_resuming_changes_nothing_but_when_it_ends(again, options, message):
    result = CliRunner().invoke(train, ["--resume", again.run.info.run_id, *options])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"Error: {message}")


def test_only_a_training_that_there_is_can_be_resumed(again):
    result = CliRunner().invoke(train, ["--resume", "0" * 32])
    assert result.stderr.splitlines()[-1] == (
        f"Error: resume: run {'0' * 32} is not in {mlflow.get_tracking_uri()}; check the id"
    )
    run_id = again.run.info.run_id
    result = CliRunner().invoke(transfer_learn, ["--resume", run_id])
    assert result.stderr.splitlines()[-1] == (
        f"Error: resume: run {run_id} is one of train, not of transfer_learn; give one of transfer_learn"
    )


@pytest.mark.slow
def test_memory_that_runs_out_fails_the_run_before_the_kernel_ends_it(dataset):
    always = "from odml import host_memory; host_memory._RESERVE = 10.0; from entrypoints.train import train; train()"
    options = ["--model", "tiny.yml", "--dataset", "dataset", "--batch-size", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(
        [sys.executable, "-c", always, *options], env=environment, capture_output=True, text=True, timeout=300
    )
    line = ended.stderr.splitlines()[-1]
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(
        r"Error: memory runs out: of \d+\.\d GB \d+\.\d are left; give batch_size=1 or batch_size=auto, or smaller "
        r"images by a YAML file that extends the model, or stop other programs",
        line,
    )
    found = latest_run()
    assert (found.info.status, f"Error: {found.data.tags['odml.error']}") == ("FAILED", line)


def test_missing_weights_fail_the_run(dataset):
    result = run("--train-steps", "1", "--weights", "none.h5", command=transfer_learn)
    message = (
        "none.h5: there is no such weights file; pass weights=coco, imagenet, or the path of a checkpoint, a frozen "
        "graph or a Keras file"
    )
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"Error: {message}"
    assert latest_run().data.tags["odml.error"] == message


@pytest.mark.slow
def test_interrupted_training_keeps_what_it_learned(dataset, tracking_store):
    """Stop a training as ``mlflow run`` does: SIGINT, and SIGTERM right after it."""
    command = [sys.executable, "-m", "entrypoints.train", "--model", "tiny.yml", "--dataset", "dataset"]
    command += ["--batch-size", "2", "--checkpoint-every", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_checkpoint(tracking_store / "mlruns", process)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, errors
    found = latest_run()
    assert found.info.status == "FINISHED"
    reason = found.data.tags["odml.stop_reason"]
    step = int(reason.removeprefix("SIGINT step="))
    artifacts = Path(found.info.artifact_uri)
    assert output == f"SIGINT after step {step}: {artifacts}/train (run {found.info.run_id})\n"
    assert checkpoints.list_steps(artifacts / "train")[-1] == step
    assert json.loads((artifacts / "train" / "model.json").read_text())["label_map"] == ["green", "red"]
    assert list((artifacts / "tensorboard").iterdir())
    assert step in steps_of("eval/coco/mAP")


def wait_for_checkpoint(folder: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 180
    while not list(folder.glob("*/artifacts/train/checkpoint")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)
