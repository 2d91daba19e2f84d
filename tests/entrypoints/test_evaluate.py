from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest
import tensorflow as tf
from click.testing import CliRunner, Result
from mlflow.entities import Run

from entrypoints.evaluate import evaluate
from entrypoints.prepare import prepare
from entrypoints.train import train
from odml import architectures, config, tracking
from odml.architectures import SSD
from odml.checkpoints import Checkpoints
from odml.known_datasets import draw_shapes
from odml.structures import LabelMap
from odml.training import make_optimizer
from tests import tiny
from tests.conftest import Exported

CROSS = [("red", (10, 10, 60, 50)), ("green", (30, 5, 70, 55))]


@pytest.fixture(scope="module")
def network() -> SSD:
    tf.random.set_seed(4)
    return architectures.build(tiny.configuration(), 2)


@pytest.fixture
def training(tracking_store: Path, network: SSD) -> str:
    """A prepared data set, and the run of a training on it with checkpoints of the steps 10 and 20."""
    examples = [tiny.serialize(CROSS, source_id="a.png"), tiny.serialize([], source_id="b.png")]
    test = [tiny.serialize([("red", (10, 10, 60, 50))], source_id="c.png")]
    tiny.write_dataset(tracking_store / "dataset", train=examples, val=examples, test=test)
    with tracking.start_run("prepare") as prepared:
        prepared.log_artifacts(tracking_store / "dataset", "dataset")
    with tracking.start_run("train", model="tiny") as run:
        run.input("dataset", prepared.id, operations=("prepare",), artifact="dataset")
        save(run.artifact_folder("train").path, network, tiny.LABEL_MAP)
    return run.id


def save(folder: Path, network: SSD, label_map: LabelMap) -> None:
    optimizer = make_optimizer(tiny.configuration().training, network, steps=None)
    saver = Checkpoints(folder, network, label_map, optimizer=optimizer)
    for step in (10, 20):
        saver.save(step)


def run(*options: str) -> Result:
    return CliRunner().invoke(evaluate, options)


def latest_run() -> Run:
    return mlflow.search_runs(
        experiment_names=["tests"], filter_string="tags.`odml.operation` = 'evaluate'", output_format="list"
    )[0]


def test_latest_checkpoint_is_measured_on_the_data_that_it_was_trained_with(training):
    result = run()
    assert result.exit_code == 0, result.output
    found = latest_run()
    tags = {name: value for name, value in found.data.tags.items() if name.startswith("odml.")}
    assert (tags["odml.input.trained_model"], tags["odml.model"], tags["odml.step"]) == (training, "tiny", "20")
    assert (tags["odml.split"], tags["odml.form"]) == ("val", "checkpoint")
    assert tags["odml.input.dataset"] == mlflow.get_run(training).data.tags["odml.input.dataset"]
    metrics = found.data.metrics
    # In 80 x 60 pixels there are medium objects only; a size without objects has no number.
    assert set(metrics) == {
        *(f"eval/coco/{name}" for name in ("mAP", "mAP_50", "mAP_75", "mAP_medium")),
        *(f"eval/coco/{name}" for name in ("AR_1", "AR_10", "AR_100", "AR_medium")),
        *(f"eval/voc/{name}" for name in ("mAP_11_points", "mAP_area")),
        *(f"eval/{name}" for name in ("F1", "precision", "recall", "score_threshold", "calibration_error")),
        *(f"eval/tide/{name}" for name in ("classification", "localisation", "both", "duplicate")),
        *(f"eval/tide/{name}" for name in ("background", "missed")),
        *(f"eval/per_class/{name}/{color}" for name in ("AP", "score_threshold") for color in ("green", "red")),
    }
    assert {step.step for step in mlflow.MlflowClient().get_metric_history(found.info.run_id, "eval/coco/mAP")} == {20}


def test_result_is_printed_and_kept_as_text_table_and_pictures(training):
    result = run("--step", "10", "--gpus", "none")
    assert result.exit_code == 0, result.output
    artifacts = Path(latest_run().info.artifact_uri)
    summary = (artifacts / "evaluation" / "summary.txt").read_text()
    heading, printed = result.stdout.split("\n\n", 1)
    assert heading.startswith("step 10 on ")
    assert printed == f"{summary}\nreport: {artifacts}/evaluation/report.html\n"
    assert config.load(str(artifacts / "config.yml")) == tiny.configuration()
    table = json.loads((artifacts / "evaluation" / "per_class.json").read_text())
    assert table["columns"][:4] == ["name", "objects", "AP", "AP_50"]
    assert [row[:2] for row in table["data"]] == [["green", 1], ["red", 1]]
    pictures = [path.name for path in (artifacts / "images").iterdir()]
    series = {name.split("+timestamp")[0] for name in pictures}
    assert series == {"eval~image_0+step+10", "eval~image_1+step+10"}


def test_report_has_a_page_charts_tables_and_files_of_coco(training):
    assert run("--step", "10").exit_code == 0
    folder = Path(latest_run().info.artifact_uri, "evaluation")
    assert "Evaluation of tiny, validation" in (folder / "report.html").read_text()
    charts = ("precision_recall", "f1_score", "precision_score", "recall_score", "confusion_matrix", "errors")
    assert {path.stem for path in folder.glob("*.png")} == {*charts, "calibration"}
    tables = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert set(tables) == {
        *("per_class", "errors", "confusion", "calibration", "worst_pictures"),
        *("ground_truth", "predictions"),
    }
    assert tables["confusion"]["columns"] == ["ground_truth", "green", "red", "missed"]
    assert [each["file_name"] for each in tables["ground_truth"]["images"]] == ["a.png", "b.png"]
    assert {each["image_id"] for each in tables["predictions"]} == {1, 2}


def test_first_examples_only(training):
    assert run("--eval-examples", "1").exit_code == 0


def test_folders_instead_of_runs(training, tracking_store):
    folder = Path(mlflow.get_run(training).info.artifact_uri, "train")
    result = run("--trained-model", str(folder), "--dataset", "dataset", "--step", "10")
    assert result.exit_code == 0, result.output
    assert latest_run().data.tags["odml.input.trained_model"] == str(folder)
    assert result.stdout.startswith("step 10 on tiny, validation:\n\n")


def test_step_without_a_checkpoint(training):
    result = run("--step", "15")
    folder = Path(mlflow.get_run(training).info.artifact_uri, "train")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"Error: {folder}: has no checkpoint of step 15; it has 10, 20"
    assert latest_run().info.status == "FAILED"


def test_data_of_other_classes(training, tracking_store, network):
    save(tracking_store / "other", network, LabelMap(("cat", "dog")))
    result = run("--trained-model", "other", "--dataset", "dataset")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"Error: {tracking_store}/dataset: its classes are ['green', 'red'], the network's are ['cat', 'dog']; give the"
        " data set that it was trained on"
    )


def test_data_without_validation_records(training, tracking_store):
    tiny.write_dataset(tracking_store / "all", train=[tiny.serialize(CROSS)])
    result = run("--dataset", "all")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"Error: {tracking_store}/all: has no validation records; prepare it with a val_split above 0"
    )


def test_images_of_the_test_are_measured_under_names_of_their_own(training):
    result = run("--split", "test")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("step 20 on tiny, test:\n\n")
    found = latest_run()
    assert found.data.tags["odml.split"] == "test"
    # The only object of the test is a red one.
    assert {name for name in found.data.metrics if "per_class" in name} == {
        "test/per_class/AP/red",
        "test/per_class/score_threshold/red",
    }
    assert {name.split("/")[0] for name in found.data.metrics} == {"test"}
    pictures = {path.name.split("+")[0] for path in Path(found.info.artifact_uri, "images").iterdir()}
    assert pictures == {"test~image_0"}
    (used,) = found.inputs.dataset_inputs
    assert [tag.value for tag in used.tags] == ["test"]


def test_data_without_a_test(training, tracking_store):
    examples = [tiny.serialize(CROSS)]
    tiny.write_dataset(tracking_store / "two", train=examples, val=examples)
    result = run("--dataset", "two", "--split", "test")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"Error: {tracking_store}/two: has no test records; prepare it with a test_split above 0, or from data that "
        "bring a split into train, val and test"
    )


@pytest.fixture
def export(training: str, exported: Exported) -> str:
    """A run that has exported the small network in all forms."""
    with tracking.start_run("export_and_freeze", model="tiny") as run:
        run.tag("odml.input.dataset", mlflow.get_run(training).data.tags["odml.input.dataset"])
        run.log_artifacts(exported.folder, "graph")
    return run.id


@pytest.mark.parametrize(
    ("value", "form", "file"),
    [
        ("{run}", "frozen_graph", "frozen_inference_graph.pb"),
        ("{run}/model_int8.tflite", "tflite_int8", "model_int8.tflite"),
        ("model.onnx", "onnx", "model.onnx"),
        ("{folder}/saved_model", "saved_model", "saved_model"),
        ("{folder}", "frozen_graph", "frozen_inference_graph.pb"),
    ],
)
def test_form_of_an_export_is_measured(export, exported, value, form, file):
    result = run("--model", value.format(run=export, folder=exported.folder))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{form}, step 7 on tiny, validation:\n\n")
    found = latest_run()
    tags = found.data.tags
    of_run = "{folder}" not in value
    assert tags["odml.input.model"] == (export if of_run else str(exported.folder))
    assert (tags["odml.form"], tags["odml.input.model.file"], tags["odml.step"]) == (form, file, "7")
    assert tags["odml.model"] == ("tiny" if of_run else "ssd")
    assert "odml.input.trained_model" not in tags
    assert "eval/coco/mAP" in found.data.metrics
    assert config.load(str(Path(found.info.artifact_uri, "config.yml"))) == tiny.configuration()


def test_checkpoint_and_export_are_not_measured_at_once(training):
    result = run("--model", "model.onnx", "--trained-model", training)
    assert result.exit_code == 2
    assert "Error: trained_model and model are given; give one of them" in result.stderr


def test_export_whose_description_is_damaged(training, tmp_path):
    (tmp_path / "model.tflite").touch()
    (tmp_path / "model.json").write_text("{")
    result = run("--model", f"{tmp_path}/model.tflite")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(
        f"Error: {tmp_path}/model.json: cannot be read (Expecting property"
    )


def test_form_that_an_export_does_not_have(export, graph):
    result = run("--model", f"{graph}/model.tflite")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"Error: {graph}/model.tflite: is not there; this export has frozen_inference_graph.pb, saved_model"
    )


@pytest.mark.slow
def test_evaluation_repeats_what_the_training_measured(tracking_store):
    images, annotations = draw_shapes(tracking_store / "shapes", images=12, seed=1)
    (tracking_store / "tiny.yml").write_text(tiny.MODEL)
    for command, options in (
        (prepare, ["--images", str(images), "--annotations", str(annotations), "--seed", "1"]),
        (train, ["--model", "tiny.yml", "--train-steps", "2", "--batch-size", "4", "--seed", "1"]),
        (evaluate, []),
    ):
        result = CliRunner().invoke(command, options)
        assert result.exit_code == 0, result.output
    evaluated, trained, _ = mlflow.search_runs(experiment_names=["tests"], output_format="list")
    scores = {name: value for name, value in trained.data.metrics.items() if name.startswith("eval/")}
    assert max(scores.values()) > 0
    again = {name: value for name, value in evaluated.data.metrics.items() if "/speed/" not in name}
    assert again == pytest.approx(scores, abs=1e-6)
