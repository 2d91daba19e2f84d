from __future__ import annotations

import mlflow
import pytest
from click.testing import CliRunner

from entrypoints.register import register
from odml.serving.packaging import CURL
from odml.tracking import Run, start_run


def export(trained: Run, *, step: int) -> str:
    """Leave a run of export_and_freeze as that operation does, with a model but without a network in it."""
    with start_run("export_and_freeze", model="ssd") as run:
        run.input("trained_model", trained.id, operations=("train",), artifact="train")
        run.tag("odml.step", step)
        (run.artifact_folder("graph").path / "labels.pbtxt").write_text("x")
        mlflow.create_external_model(name="detector", source_run_id=run.id)
    return run.id


def evaluate(trained: Run, *, step: int, score: float, split: str = "val") -> str:
    with start_run("evaluate", model="ssd") as run:
        run.input("trained_model", trained.id, operations=("train",), artifact="train")
        run.tag("odml.step", step)
        run.tag("odml.split", split)
        run.log_metrics({"eval/coco/mAP": score, "eval/coco/mAP_50": 0.9})
    return run.id


@pytest.fixture
def trained(tracking_store) -> Run:
    with start_run("train", model="ssd") as run:
        (run.artifact_folder("train").path / "checkpoint").write_text("x")
        run.tag("odml.data.digest", "d1")
    return run


def test_export_becomes_a_version_that_says_where_it_comes_from(trained):
    evaluate(trained, step=10, score=0.1)
    evaluated = evaluate(trained, step=20, score=0.51234)
    evaluate(trained, step=20, score=0.2, split="test")
    exported = export(trained, step=20)
    result = CliRunner().invoke(register)
    assert result.exit_code == 0, result.stderr
    version = mlflow.MlflowClient().get_model_version_by_alias("detector", "champion")
    assert version.tags == {
        "odml.export_run": exported,
        "odml.training_run": trained.id,
        "odml.model": "ssd",
        "odml.step": "20",
        "odml.data.digest": "d1",
        "odml.evaluation_run": evaluated,
        "odml.mAP": "0.5123",
        "odml.mAP_50": "0.9000",
    }


def test_model_that_was_not_evaluated_has_no_score(trained):
    export(trained, step=20)
    assert CliRunner().invoke(register).exit_code == 0
    tags = mlflow.MlflowClient().get_model_version_by_alias("detector", "champion").tags
    assert "odml.mAP" not in tags


def test_commands_to_serve_and_ask_are_printed(trained):
    export(trained, step=20)
    result = CliRunner().invoke(register)
    assert result.stdout == (
        "registered detector version 1 as models:/detector@champion\n\n"
        "Serve it:\n\n"
        "mlflow models serve -m models:/detector@champion --env-manager local --port 5001\n\n"
        f"and ask it:\n\n{CURL}\n"
    )


def test_version_without_an_alias_is_served_by_its_number(trained):
    export(trained, step=20)
    result = CliRunner().invoke(register, ["--name", "raccoons", "--alias", ""])
    assert "mlflow models serve -m models:/raccoons/1 --env-manager local" in result.stdout


def test_nothing_to_register_says_what_to_run_first(tracking_store):
    result = CliRunner().invoke(register)
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: experiment tests: no run of export_and_freeze with graph/ found; "
        'run "mlflow run . -e export_and_freeze" first, or pass -P export=\n',
    )


def test_folder_cannot_be_registered(tracking_store):
    (tracking_store / "graph").mkdir()
    result = CliRunner().invoke(register, ["--export", "graph"])
    expected = "Error: export: graph is a folder, not a run with a model; give a run of export_and_freeze\n"
    assert (result.exit_code, result.stderr) == (1, expected)
