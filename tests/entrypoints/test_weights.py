"""weights: what transfer_learn starts from, and what its run says of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import mlflow
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner, Result
from mlflow.entities import Run

from entrypoints.transfer_learn import transfer_learn
from odml import architectures, checkpoints
from odml.architectures import Architecture
from odml.tracking import start_run
from odml.training import make_optimizer
from tests import tiny

NO_RUN = "0" * 32


@pytest.fixture(scope="module")
def network() -> Architecture:
    tf.random.set_seed(4)
    return architectures.build(tiny.configuration(), len(tiny.LABEL_MAP))


@pytest.fixture(scope="module")
def train(network: Architecture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of checkpoints of the network."""
    folder = tmp_path_factory.mktemp("training") / "train"
    optimizer = make_optimizer(tiny.configuration().training, network, steps=None)
    checkpoints.Checkpoints(folder, network, tiny.LABEL_MAP, optimizer=optimizer).save(10)
    return folder


@pytest.fixture(scope="module")
def graph(train: Path) -> Path:
    """What stands for the network's export folder: a checkpoint as well."""
    return Path(shutil.copytree(train, train.with_name("graph")))


@pytest.fixture
def dataset(tracking_store: Path) -> None:
    """Two pictures to train on, and a tiny.yml."""
    (tracking_store / "tiny.yml").write_text(tiny.configuration(warmup_steps=0, weight_decay=0.5).to_yaml())
    examples = [tiny.serialize([("red", (10, 10, 60, 50))]), tiny.serialize([("green", (20, 5, 70, 55))])]
    tiny.write_dataset(tracking_store / "dataset", train=examples)


def logged(operation: str, folder: Path) -> str:
    """Leave a run of an operation with an artifact folder; give its id."""
    with start_run(operation) as run:
        run.log_artifacts(folder, folder.name)
    return run.id


def registered(export_run: str) -> str:
    """Register a model of an export's run; give its URI."""
    model = mlflow.create_external_model(name="detector", source_run_id=export_run)
    mlflow.register_model(f"models:/{model.model_id}", "detector")
    return "models:/detector/1"


def run(*options: str, rate: str = "1e-9") -> Result:
    """Train one step, by default one that changes nothing."""
    training = ["--train-steps", "1", "--batch-size", "2", "--seed", "5", "--learning-rate", rate]
    return CliRunner().invoke(transfer_learn, ["--model", "tiny.yml", "--dataset", "dataset", *training, *options])


def latest_run() -> Run:
    condition = "tags.`odml.operation` = 'transfer_learn'"
    return mlflow.search_runs(experiment_names=["tests"], filter_string=condition, output_format="list")[0]


def tags_of_weights() -> dict[str, str]:
    return {name: tag for name, tag in latest_run().data.tags.items() if name.startswith("odml.input.weights")}


def differences(network: Architecture) -> dict[str, float]:
    """Compare what a run has left with a network, by variables that are trained."""
    found, _, _ = checkpoints.load(Path(latest_run().info.artifact_uri, "train"))
    pairs = zip(found.trainable_variables, network.trainable_variables, strict=True)
    return {one.path: float(np.abs(one.numpy() - other.numpy()).max()) for one, other in pairs}


@pytest.mark.parametrize("kind", ["training", "registered model"])
def test_training_goes_on_from_what_another_run_has_left(dataset, network, train, graph, kind, caplog):
    source = logged("train", train) if kind == "training" else logged("export_and_freeze", graph)
    weights = registered(source) if kind == "registered model" else source
    result = run("--weights", weights)
    assert result.exit_code == 0, result.output
    assert max(differences(network).values()) < 1e-5
    model = {"odml.input.weights.model": weights} if kind == "registered model" else {}
    assert tags_of_weights() == {"odml.input.weights": source} | model
    summary = (Path(latest_run().info.artifact_uri) / "initial_weights.txt").read_text()
    assert summary.strip()
    assert summary.strip() in caplog.text


def test_none_starts_from_random_weights_and_freezes_nothing(dataset):
    result = run("--weights", "none", rate="0.01")
    assert result.exit_code == 0, result.output
    keras.utils.set_random_seed(6)  # a training's own is one more than its seed
    fresh = architectures.build(tiny.configuration(), len(tiny.LABEL_MAP))
    changed = {path: difference for path, difference in differences(fresh).items() if path.endswith("/weights")}
    assert min(changed.values()) > 0
    assert max(changed.values()) < 0.1
    assert tags_of_weights() == {}
    assert not (Path(latest_run().info.artifact_uri) / "initial_weights.txt").exists()


def test_folder_is_tagged_in_full_and_its_first_blocks_stay(dataset, network, train):
    Path("before").symlink_to(train)
    result = run("--weights", "before", rate="0.01")
    assert result.exit_code == 0, result.output
    assert tags_of_weights() == {"odml.input.weights": str(train)}
    found = differences(network)
    (first,) = (difference for path, difference in found.items() if path.endswith("V2/Conv/weights"))
    assert first == 0
    assert max(found.values()) > 0


def test_weights_that_are_empty_make_no_run(dataset):
    result = run("--weights", "")
    message = "weights: is empty; pass coco, imagenet, none, a path, a run's id or a models:/ URI"
    assert (result.exit_code, result.stderr) == (1, f"Error: {message}\n")
    assert mlflow.search_runs(experiment_names=["tests"], output_format="list") == []


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (NO_RUN, f"weights: run {NO_RUN} is not in sqlite:///{{cwd}}/mlflow.db; check the id"),
        (
            "{prepared}",
            "weights: run {prepared} has no train/ or graph/; give a run of transfer_learn, train or export_and_freeze",
        ),
        (
            "models:/a@b",
            "models:/a@b: cannot be found (Registered Model with name=a not found); see Models in mlflow ui",
        ),
    ],
    ids=["unknown run", "run without weights", "unknown model"],
)
def test_run_that_has_no_weights_fails_in_one_line(dataset, tracking_store, weights, message):
    names = {"prepared": logged("prepare", tracking_store / "dataset"), "cwd": tracking_store}
    result = run("--weights", weights.format(**names))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"Error: {message.format(**names)}"
    assert latest_run().data.tags["odml.error"] == message.format(**names)
