from __future__ import annotations

import json
import re

import mlflow
import pytest
from click.testing import CliRunner, Result

from entrypoints.lineage import lineage
from odml.tracking import Run, add_version, describe_version, logged_model, move_alias, start_run


def run_lineage(*options: str) -> Result:
    return CliRunner().invoke(lineage, options)


@pytest.fixture
def runs(tracking_store) -> dict[str, str]:
    """All that a registered model comes from, as the operations leave it, without a network in it: ids by name."""
    with start_run("prepare") as prepared:
        (prepared.artifact_folder("dataset").path / "split.json").write_text("{}")
        prepared.log_metrics({"data/train_images": 7, "data/val_images": 3})
        prepared.log_dataset("photos", digest="d1", source=tracking_store / "photos", context="preparation")
        prepared.tag("odml.data.digest", "d1")
    first = train(prepared, weights="coco")
    second = train(prepared, weights=first.id)
    with start_run("evaluate", model="ssd") as evaluated:
        evaluated.input("trained_model", second.id, operations=("train",), artifact="train")
        evaluated.input("dataset", prepared.id, operations=("prepare",), artifact="dataset")
        evaluated.tag("odml.split", "val")
        evaluated.log_metrics({"eval/coco/mAP": 0.51239})
    with start_run("export_and_freeze", model="ssd") as exported:
        exported.input("trained_model", second.id, operations=("train",), artifact="train")
        model = mlflow.create_external_model(name="detector", source_run_id=exported.id)
    number = add_version(logged_model(exported.id, "detector"), "detector", tags={"odml.mAP": "0.5124"})
    move_alias("detector", "champion", number)
    describe_version("detector", number, tags={"odml.gate": "first"}, description="")
    return {
        "experiment": exported.experiment_id,
        "photos": str(tracking_store / "photos"),
        "model": model.model_id,
        **{name: run.id for name, run in vars_of(prepared, first, second, evaluated, exported).items()},
    }


def vars_of(prepared: Run, first: Run, second: Run, evaluated: Run, exported: Run) -> dict[str, Run]:
    return {"prepare": prepared, "first": first, "second": second, "evaluate": evaluated, "export": exported}


def train(prepared: Run, *, weights: str) -> Run:
    with start_run("train", model="ssd") as run:
        run.input("dataset", prepared.id, operations=("prepare",), artifact="dataset")
        if weights == "coco":
            run.tag("odml.input.weights", weights)
        else:
            run.input("weights", weights, operations=("train",), artifact="train")
        (run.artifact_folder("train").path / "checkpoint").write_text("x")
        run.tag("odml.stop_reason", "finished step=20")
    return run


def test_champion_is_walked_back_to_the_photos(runs):
    result = run_lineage()
    assert result.exit_code == 0, result.stderr
    pages = f"http://127.0.0.1:5000/#/experiments/{runs['experiment']}"
    assert result.stdout == (
        "version: detector 1\n"
        "│  aliases champion, mAP 0.5124, gate first\n"
        "│  http://127.0.0.1:5000/#/models/detector/versions/1\n"
        f"└─ logged model: detector models:/{runs['model']}\n"
        f"   │  {pages}/models/{runs['model']}\n"
        f"   └─ made by: export_and_freeze {runs['export']}\n"
        "      │  status FINISHED, model ssd\n"
        f"      │  {pages}/runs/{runs['export']}\n"
        f"      └─ trained by: train {runs['second']}\n"
        "         │  status FINISHED, model ssd, ended finished step=20\n"
        f"         │  {pages}/runs/{runs['second']}\n"
        f"         ├─ started from: train {runs['first']}\n"
        "         │  │  status FINISHED, model ssd, ended finished step=20\n"
        f"         │  │  {pages}/runs/{runs['first']}\n"
        "         │  ├─ started from: coco\n"
        f"         │  └─ learned from: prepare {runs['prepare']}\n"
        "         │     │  status FINISHED, data digest d1\n"
        f"         │     │  {pages}/runs/{runs['prepare']}\n"
        f"         │     └─ photos: {runs['photos']}\n"
        "         │           train images 7, val images 3, digest d1\n"
        f"         │           {pages}/runs/{runs['prepare']}/artifacts/dataset/split.json\n"
        f"         ├─ learned from: prepare {runs['prepare']} (see above)\n"
        f"         │     {pages}/runs/{runs['prepare']}\n"
        f"         └─ measured by: evaluate {runs['evaluate']}\n"
        "               status FINISHED, model ssd, split val, mAP 0.5124\n"
        f"               {pages}/runs/{runs['evaluate']}\n"
    )
    # To look is nothing to keep.
    assert "lineage" not in {run.data.tags["odml.operation"] for run in mlflow.search_runs(output_format="list")}


def test_tree_for_programs_and_from_any_run(runs):
    result = run_lineage("--model", runs["first"], "--json", "true")
    tree = json.loads(result.stdout)
    assert (tree["role"], tree["name"]) == ("run", f"train {runs['first']}")
    assert [each["role"] for each in tree["origins"]] == ["started from", "learned from"]
    assert tree["origins"][1]["origins"][0]["facts"]["digest"] == "d1"


def test_run_that_a_training_was_resumed_by_is_told(runs, monkeypatch):
    made = mlflow.MlflowClient().create_run(runs["experiment"])
    monkeypatch.setenv("MLFLOW_RUN_ID", made.info.run_id)
    with start_run("train", resume=runs["first"]):
        pass
    assert f"└─ resumed by: resume {made.info.run_id}\n" in run_lineage("--model", runs["first"]).stdout


def test_what_is_no_longer_there_is_said_where_it_stood(runs):
    for name in ("prepare", "first"):
        mlflow.delete_run(runs[name])
    mlflow.MlflowClient().set_tag(runs["second"], "odml.input.weights", "0" * 32)
    result = run_lineage()
    assert result.exit_code == 0, result.stderr
    assert re.search(rf"started from: run {'0' * 32} \(is no longer there\)\n", result.stdout)
    assert f"learned from: prepare {runs['prepare']}\n" in result.stdout


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("champion", "model: 'champion' is neither a run id nor a models:/ URI; give models:/NAME@ALIAS"),
        ("0" * 32, f"model: run {'0' * 32} is not in sqlite:///STORE/mlflow.db; check the id"),
    ],
)
def test_model_that_is_not_there(tracking_store, model, message):
    result = run_lineage("--model", model)
    assert (result.exit_code, result.stderr) == (1, f"Error: {message.replace('STORE', str(tracking_store))}\n")


def test_no_champion_yet(tracking_store):
    result = run_lineage()
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: models:/detector@champion: cannot be found (")
