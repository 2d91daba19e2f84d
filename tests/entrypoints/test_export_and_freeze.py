from __future__ import annotations

import json
import warnings
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner, Result
from mlflow.entities import Run
from PIL import Image

with warnings.catch_warnings():
    # MLflow warns about type hints of its own when its pyfunc module is imported.
    warnings.simplefilter("ignore")
    import mlflow.pyfunc

import keras

from entrypoints.detect import detect
from entrypoints.export_and_freeze import export_and_freeze
from entrypoints.export_run import find_dataset
from odml import architectures, config, form_comparison
from odml.checkpoints import Checkpoints
from odml.detector import Detector
from odml.errors import TrackingError
from odml.structures import LabelMap
from odml.tracking import add_version, logged_model, move_alias, start_run
from tests import tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore:Operation with range:DeprecationWarning"),  # pandas', in MLflow
]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of checkpoints of a small SSD."""
    folder = tmp_path_factory.mktemp("training") / "train"
    small = config.load("ssd_mobilenet_v2").model_dump() | {"image_size": [64, 64], "extra_layers": [16]}
    network = architectures.build(config.validate(small, where="test"), 2)
    optimizer = keras.optimizers.SGD()
    optimizer.build(network.trainable_variables)
    checkpoints = Checkpoints(folder, network, LabelMap(("cat", "dog")), optimizer=optimizer)
    checkpoints.save(10)
    checkpoints.save(20)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of the classes of that SSD."""
    picture = tiny.serialize([("red", (10, 10, 40, 50))])
    folder = tiny.write_dataset(tmp_path_factory.mktemp("records") / "dataset", train=[picture], val=[picture]).folder
    (folder / "labels.pbtxt").write_text(LabelMap(("cat", "dog")).to_pbtxt())
    return folder


@pytest.fixture
def training_run(tracking_store: Path, train: Path) -> str:
    with start_run("train", model="small") as run:
        run.tag("odml.data.digest", "abc")
        run.log_artifacts(train, "train")
    return run.id


def run(*options: str) -> Result:
    return CliRunner().invoke(export_and_freeze, options)


def latest_run() -> Run:
    return mlflow.search_runs(
        experiment_names=["tests"], filter_string="tags.`odml.operation` = 'export_and_freeze'", output_format="list"
    )[0]


def test_latest_checkpoint_becomes_a_graph_and_a_model(training_run: str):
    result = run()
    assert result.exit_code == 0, result.output
    found = latest_run()
    model = logged_model(found.info.run_id, "detector")
    graph = Path(found.info.artifact_uri, "graph")
    assert result.stdout == (
        f"step 20 with 2 classes: {graph} and {model}\n"
        "no mAP was measured, for want of validation images with objects; to have it, pass dataset\n"
        f"give it a name to serve it by: mlflow run . -e register -P export={found.info.run_id} --env-manager local\n"
    )
    assert Detector.load(graph).label_map == LabelMap(("cat", "dog"))
    assert (graph / "saved_model" / "saved_model.pb").is_file()
    assert not list(graph.glob("*.tflite"))
    written = config.load(str(Path(found.info.artifact_uri, "config.yml"))).model_dump()
    assert (written["image_size"], written["extra_layers"]) == ((64, 64), (16,))
    assert found.data.metrics["export/raw_difference"] < 1e-4
    # The anchors of three pictures: 4 x 4 cells with 3 each, 2 x 2 and 1 with 6.
    assert found.data.metrics["export/raw_rows"] == 3 * 78
    parity = json.loads((graph / "model.json").read_text())["parity"]
    assert found.data.metrics == {
        "export/raw_difference": parity["raw_difference"],
        "export/raw_rows": parity["rows"],
        "export/paired_rows": parity["paired"],
        "export/compared_detections": parity["compared"],
        "export/matched_detections": parity["matched"],
        "export/saved_model/raw_difference": pytest.approx(0, abs=1e-4),
    }
    expected = {
        "odml.input.trained_model": training_run,
        "odml.model": "small",
        "odml.data.digest": "abc",
        "odml.step": "20",
        "odml.parity": "unmeasured",
    }
    assert expected.items() <= found.data.tags.items()
    metadata = mlflow.models.Model.load(model).metadata
    assert (metadata["odml.step"], metadata["odml.training_run"]) == ("20", training_run)
    assert "No mAP of these files was measured" in (graph / "README.md").read_text()


def test_card_has_what_the_training_measured_of_the_step(training_run: str):
    client = mlflow.MlflowClient()
    for step, score in ((10, 0.25), (20, 0.5)):
        client.log_metric(training_run, "eval/coco/mAP", score, step=step)
        client.log_metric(training_run, "eval/per_class/score_threshold/dog", score / 2, step=step)
    assert run("--step", "10").exit_code == 0
    found = latest_run()
    card = Path(found.info.artifact_uri, "graph", "README.md").read_text()
    assert f"Step 10 of a training (run {training_run})" in card
    assert "| mAP (IoU .50 to .95) | 0.250 |" in card
    assert "| 2 | dog | n/a | 0.125 |" in card
    assert "| digest of the data | abc |" in card
    assert "| `frozen_inference_graph.pb` |" in card


def test_a_registered_model_detects(training_run: str, tmp_path: Path):
    assert run("--step", "10", "--input-type", "encoded_image_string_tensor").exit_code == 0
    assert latest_run().data.tags["odml.step"] == "10"
    graph = Path(latest_run().info.artifact_uri, "graph")
    assert json.loads((graph / "model.json").read_text())["input_type"] == "encoded_image_string_tensor"
    number = add_version(logged_model(latest_run().info.run_id, "detector"), "detector", tags={})
    move_alias("detector", "champion", number)
    Image.new("RGB", (100, 100)).save(tmp_path / "black.png")
    options = ["--images", str(tmp_path / "black.png"), "--export", "models:/detector@champion"]
    result = CliRunner().invoke(detect, options)
    assert result.exit_code == 0, result.output
    assert "detections in 1 images: " in result.stdout


def test_missing_step_is_named(training_run: str, train: Path):
    result = run("--trained-model", str(train), "--step", "15")
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {train}: has no checkpoint of step 15; it has 10, 20\n",
    )


def test_int8_is_written_of_a_training_that_asked_for_it(tracking_store: Path, train: Path, dataset: Path):
    with start_run("train", model="small") as training:
        training.tag("odml.quantize", "true")
        training.tag("odml.input.dataset", str(dataset))
        training.log_artifacts(train, "train")
    # So little has the network learned that its mAP is a matter of chance.
    result = run("--tflite", "float32", "--max-map-drop", "1")
    assert result.exit_code == 0, result.output
    found = latest_run()
    names = {path.name for path in Path(found.info.artifact_uri, "graph").iterdir()}
    assert {name for name in names if "tflite" in name} == {"model.tflite", "model_int8.tflite"}
    assert Path(found.info.artifact_uri, "graph", "labels.txt").read_text() == "cat\ndog\n"
    metrics = found.data.metrics
    assert {name for name in metrics if "tflite" in name and name.endswith("_difference") and name.count("/") == 1} == {
        f"export/tflite_{form}_{kind}_difference" for form in ("float32", "int8") for kind in ("score", "box")
    }
    assert metrics["export/tflite_float32_score_difference"] < 1e-4
    # The mAP of all of them on the one validation picture was measured.
    forms = ("checkpoint", "frozen_graph", "saved_model", "tflite_float32", "tflite_int8")
    assert {name for name in metrics if name.endswith("/mAP")} == {f"export/{form}/mAP" for form in forms}
    assert found.data.tags["odml.parity"] == "passed"
    shown = ", ".join(f"{form} {metrics[f'export/{form}/mAP']:.3f}" for form in forms)
    assert result.stdout.splitlines()[1] == f"mAP on 1 validation images: {shown}"
    compared = json.loads(Path(found.info.artifact_uri, "graph", "model.json").read_text())["comparison"]
    assert (compared["examples"], list(compared)[2:]) == (1, list(forms))
    card = Path(found.info.artifact_uri, "graph", "README.md").read_text()
    score, drop, compared, matched = (
        metrics[f"export/tflite_int8/{name}"]
        for name in ("mAP", "mAP_drop", "compared_detections", "matched_detections")
    )
    start = f"| `model_int8.tflite` | {score:.3f} | {round(-drop, 4) + 0.0:+.4f} | {matched:.0f} of {compared:.0f} | "
    assert start in card
    assert found.data.tags["odml.input.dataset"] == str(dataset)


def test_pictures_of_other_classes_are_refused(training_run: str, tmp_path: Path):
    folder = tiny.write_dataset(tmp_path / "dataset", train=[tiny.serialize([])]).folder
    result = run("--tflite", "int8", "--dataset", str(folder))
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {folder}: its classes are ['green', 'red'], the network's are ['cat', 'dog']; "
        "give the data set that it was trained on\n",
    )


def test_unknown_form_starts_no_run(training_run: str):
    result = run("--tflite", "int4")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: tflite: there is no form 'int4'; give one or several of float32, float16, int8\n",
    )
    assert mlflow.search_runs(experiment_names=["tests"], output_format="list")[0].info.run_id == training_run


def test_lost_data_of_the_training_are_told_and_done_without(training_run: str, caplog: pytest.LogCaptureFixture):
    mlflow.MlflowClient().set_tag(training_run, "odml.input.dataset", "/nowhere")
    with start_run("export_and_freeze") as run:
        run.input("trained_model", training_run, operations=("train",), artifact="train")
        assert find_dataset(run, "", LabelMap(("cat", "dog")), needed=False) is None
        assert "without the data of the training no mAP is measured" in caplog.text
        with pytest.raises(TrackingError, match=r"^dataset: '/nowhere' is neither a run id nor a folder"):
            find_dataset(run, "", LabelMap(("cat", "dog")), needed=True)


def test_form_that_finds_less_ends_the_export_and_leaves_nothing(
    training_run: str, dataset: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(form_comparison.TOLERANCES, "saved_model", -1.0)  # no form is that much better
    result = run("--dataset", str(dataset))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: saved_model: its mAP on 1 validation pictures is 0.0")
    found = latest_run()
    assert found.info.status == "FAILED"
    assert not Path(found.info.artifact_uri, "graph").exists()
    assert found.data.tags["odml.parity"] == "failed"
