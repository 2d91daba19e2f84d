"""Runs of evaluate are made here as that operation makes them, but without a network."""

from __future__ import annotations

import re
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner, Result

from entrypoints.compare import compare
from entrypoints.evaluation_report import FOLDER
from odml.report import write_ground_truth, write_predictions
from odml.structures import Annotation, Detections
from odml.tracking import Run, start_run
from tests import tiny
from tests.pets import annotation, detections

RED, GREEN = (10, 10, 60, 50), (30, 5, 70, 55)
EVALUATE = "mlflow run . -e evaluate --env-manager local -P trained_model="


@pytest.fixture
def data(tracking_store: Path) -> Run:
    examples = [tiny.serialize([("red", RED)], source_id="a.png"), tiny.serialize([], source_id="b.png")]
    tiny.write_dataset(tracking_store / "records", train=examples, val=examples)
    with start_run("prepare") as run:
        run.log_artifacts(tracking_store / "records", "dataset")
        run.tag("odml.data.digest", digest_of(tracking_store / "records"))
    return run


def digest_of(folder: Path) -> str:
    return re.findall(r"digest: (\w+)", (folder / "dataset.yml").read_text())[0]


def train(data: Run, *, rate: str = "0.1") -> Run:
    with start_run("train", model="ssd") as run:
        run.input("dataset", data.id, operations=("prepare",), artifact="dataset")
        (run.artifact_folder("train").path / "checkpoint").write_text("x")
        run.log_parameters({"training": {"learning_rate": rate}})
        run.tag("odml.data.digest", mlflow.get_run(data.id).data.tags["odml.data.digest"])
        for step, score in ((10, 0.3), (20, 0.5), (30, 0.4)):
            run.log_metrics({"train/loss/total": 1 / step, "eval/coco/mAP": score, "eval/coco/mAP_50": 2 * score}, step)
    return run


def evaluate(trained: Run, folder: Path, found: list[Detections], *, digest: str = "", split: str = "val") -> Run:
    truths = [
        Annotation(Path(name), 80, 60, each.boxes, each.names)
        for name, each in (("a.png", annotation(("red", *RED))), ("b.png", annotation()))
    ]
    with start_run("evaluate", model="ssd") as run:
        run.input("trained_model", trained.id, operations=("train",), artifact="train")
        tags = mlflow.get_run(trained.id).data.tags
        run.input("dataset", tags["odml.input.dataset"], operations=("prepare",), artifact="dataset")
        run.tag("odml.step", 20)
        run.tag("odml.split", split)
        run.tag("odml.data.digest", digest or tags["odml.data.digest"])
        run.log_metrics({f"{'eval' if split == 'val' else split}/coco/mAP": 0.25}, 20)
        (folder / "ev").mkdir(exist_ok=True)
        write_ground_truth(folder / "ev" / "ground_truth.json", truths, tiny.LABEL_MAP)
        write_predictions(folder / "ev" / "predictions.json", found)
        run.log_artifacts(folder / "ev", FOLDER)
    return run


def run_compare(*arguments: str) -> Result:
    return CliRunner().invoke(compare, arguments)


def page() -> str:
    (run,) = mlflow.search_runs(
        experiment_names=["tests"], filter_string="tags.`odml.operation` = 'compare'", output_format="list"
    )
    return Path(run.info.artifact_uri, "comparison.html").read_text()


def test_runs_are_listed_the_newest_first(data, tracking_store):
    trained = train(data)
    evaluated = evaluate(trained, tracking_store, [detections(), detections()], split="test")
    result = run_compare()
    assert result.exit_code == 0, result.stderr
    digest = mlflow.get_run(data.id).data.tags["odml.data.digest"][:12]
    titles, *rows = [re.split(r" {2,}", line) for line in result.stdout.splitlines()]
    assert titles == ["operation", "status", "step", "loss", "mAP", "mAP@.5", "age", "data digest", "run"]
    ages = [row.pop(-3) for row in rows]
    assert all(re.fullmatch(r"\d+ (s|min)", age) for age in ages)
    assert rows == [
        ["evaluate (test)", "FINISHED", "20", "0.250", digest, evaluated.id[:8]],
        ["train", "FINISHED", "30", "0.033", "0.500", "1.000", digest, trained.id[:8]],
        ["prepare", "FINISHED", digest, data.id[:8]],
    ]
    # To list is nothing to keep.
    assert "compare" not in {run.data.tags["odml.operation"] for run in mlflow.search_runs(output_format="list")}


def test_list_is_bounded_and_of_one_operation(data):
    newest = [train(data), train(data)][1]
    result = run_compare("--operation", "train", "--limit", "1")
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["run", newest.id[:8]]
    assert run_compare("--operation", "detect").stdout == "experiment tests has no such run\n"


@pytest.fixture
def two(data: Run, tracking_store: Path) -> tuple[Run, Run]:
    """Two trainings with an evaluation each: one finds the red object, the other a green one in its place."""
    good, poor = train(data), train(data, rate="0.2")
    evaluate(good, tracking_store, [detections((2, 0.9, *RED)), detections()])
    evaluate(poor, tracking_store, [detections((1, 0.8, *GREEN), (2, 0.7, *RED)), detections((1, 0.9, *RED))])
    return good, poor


def test_two_trainings_are_compared_by_their_evaluations(two):
    good, poor = two
    result = run_compare("--runs", f"{good.id},{poor.id[:8]}")
    assert result.exit_code == 0, result.output
    names = [f"ssd {run.id[:8]}" for run in two]
    lines = [re.split(r" {2,}", line.strip()) for line in result.stdout.splitlines()]
    assert lines[0] == [*names, "difference"]
    assert ["mAP", "1.000", "1.000", "+0.000"] in lines
    assert ["training.learning_rate", "0.1", "0.2"] in lines
    digest = mlflow.get_run(good.id).data.tags["odml.data.digest"]
    assert lines[-2] == [f"Both were measured on the same data ({digest})."]
    written = page()
    assert written.count('src="data:image/jpeg') == 2
    assert re.findall(r"<figcaption><b>([^<]*)</b>", written) == ["b.png", "a.png"]


def test_different_data_are_said_clearly_and_images_that_are_others_now_are_not_shown(data, tracking_store):
    runs = []
    for digest in ("d1", "d2"):
        trained = train(data)
        evaluate(trained, tracking_store, [detections((len(runs) + 1, 0.9, *RED)), detections()], digest=digest)
        runs.append(trained.id)
    result = run_compare("--runs", ",".join(runs))
    assert result.exit_code == 0, result.output
    names = [f"ssd {run_id[:8]}" for run_id in runs]
    assert f"DIFFERENT DATA: {names[0]} was measured on d1, {names[1]} on d2.\n" in result.stdout
    assert "The images cannot be shown: " in result.stdout
    assert "its content has changed since the evaluation; evaluate again\n" in result.stdout
    assert "None can be shown; see above." in page()


def test_model_without_an_evaluation_says_how_to_make_one(data):
    trained = train(data)
    result = run_compare("--runs", f"{trained.id},{trained.id}")
    message = f"Error: runs: {trained.id} has no evaluation with predictions; make it: {EVALUATE}{trained.id}\n"
    assert (result.exit_code, result.stderr) == (1, message)


def test_export_is_compared_by_the_evaluation_of_its_step(two, tracking_store):
    good, _ = two
    exports = []
    for step in ("20", "30"):
        with start_run("export_and_freeze", model="ssd") as run:
            run.input("trained_model", good.id, operations=("train",), artifact="train")
            run.tag("odml.step", step)
        exports.append(run.id)
    result = run_compare("--runs", f"{exports[0]},{exports[1]}")
    message = f"Error: runs: {exports[1]} has no evaluation with predictions; make it: {EVALUATE}{good.id} -P step=30\n"
    assert (result.exit_code, result.stderr) == (1, message)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("a", "runs: 'a' does not name two models; write runs=A,B, ids or models:/ URIs"),
        ("a,b,c", "runs: 'a,b,c' does not name two models; write runs=A,B, ids or models:/ URIs"),
        ("x,y", "runs: 'x' is neither a run's id nor a models:/ URI; compare without runs lists them"),
        ("abcdef,y", "runs: 0 runs of this experiment begin with abcdef; give the whole id"),
        (f"{'0' * 32},y", f"runs: run {'0' * 32} is not in sqlite:///STORE/mlflow.db; check the id"),
    ],
)
def test_models_that_are_not_there(tracking_store, runs, message):
    result = run_compare("--runs", runs)
    assert (result.exit_code, result.stderr) == (1, f"Error: {message.replace('STORE', str(tracking_store))}\n")


def test_run_of_an_operation_that_is_about_no_model(tracking_store):
    with start_run("prepare") as run:
        pass
    result = run_compare("--runs", f"{run.id},y")
    message = f"run {run.id}: is one of prepare; give one of train, transfer_learn, evaluate or export_and_freeze"
    assert (result.exit_code, result.stderr) == (1, f"Error: {message}\n")
