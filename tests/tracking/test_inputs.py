from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from odml.errors import TrackingError
from odml.tracking import Run, start_run

NO_RUN = "0" * 32


def prepare(*, files: tuple[str, ...] = ("dataset.yml",)) -> str:
    """Leave a run of prepare with some files of a data set; give its id."""
    with start_run("prepare") as run:
        folder = run.artifact_folder("dataset").path
        for name in files:
            (folder / name).write_text("x")
    return run.id


def dataset_of(run: Run, value: str = "") -> Path:
    return run.input("dataset", value, operations=("prepare",), artifact="dataset")


def artifacts_of(run_id: str) -> Path:
    return Path(mlflow.get_run(run_id).info.artifact_uri)


@pytest.fixture
def run(tracking_store):
    with start_run("train") as run:
        yield run


def test_default_is_the_latest_run_linked_by_a_tag(tracking_store):
    prepare()
    latest = prepare()
    with start_run("train") as run:
        assert dataset_of(run) == artifacts_of(latest) / "dataset"
        assert run.input_run("dataset") == latest
        assert run.input_tags("dataset")["odml.operation"] == "prepare"
    assert mlflow.get_run(run.id).data.tags["odml.input.dataset"] == latest


def test_latest_run_without_the_artifact_is_passed_over(tracking_store):
    complete = prepare()
    prepare(files=())
    with start_run("train") as run:
        dataset_of(run)
        assert run.input_run("dataset") == complete


def test_deleted_run_is_passed_over(tracking_store):
    kept = prepare()
    mlflow.delete_run(prepare())
    with start_run("train") as run:
        dataset_of(run)
        assert run.input_run("dataset") == kept


def test_run_that_failed_or_goes_on_is_found(tracking_store):
    trained = prepare()
    for status in ("FAILED", "RUNNING"):
        mlflow.MlflowClient().update_run(trained, status=status)
        with start_run("train") as run:
            dataset_of(run)
            assert run.input_run("dataset") == trained


def test_latest_of_several_operations_is_taken(tracking_store):
    for operation in ("train", "transfer_learn"):
        with start_run(operation) as trained:
            (trained.artifact_folder("train").path / "checkpoint").write_text("1")
    with start_run("evaluate") as run:
        run.input("trained_model", "", operations=("train", "transfer_learn"), artifact="train")
        assert run.input_run("trained_model") == trained.id


def weights_of(run: Run, value: str = "") -> Path:
    return run.input("weights", value, operations=("transfer_learn", "train", "export"), artifact=("train", "graph"))


@pytest.mark.parametrize(
    ("left", "taken"), [(["graph"], "graph"), (["train"], "train"), (["graph", "train"], "train")], ids=str
)
def test_of_several_artifacts_the_first_that_the_run_has_is_taken(tracking_store, left, taken):
    with start_run("export") as other:
        for name in left:
            (other.artifact_folder(name).path / "checkpoint").write_text("1")
    with start_run("train") as run:
        assert weights_of(run, other.id) == artifacts_of(other.id) / taken
        assert weights_of(run) == artifacts_of(other.id) / taken


def test_run_with_none_of_several_artifacts_is_an_error(tracking_store):
    other = prepare()
    with start_run("train") as run:
        with pytest.raises(TrackingError) as given:
            weights_of(run, other)
        with pytest.raises(TrackingError) as latest:
            weights_of(run)
    assert str(given.value) == (
        f"weights: run {other} has no train/ or graph/; give a run of transfer_learn, train or export"
    )
    assert str(latest.value) == (
        "experiment tests: no run of transfer_learn, train or export with train/ or graph/ found; "
        'run "mlflow run . -e transfer_learn" first, or pass -P weights='
    )


def test_given_run_is_taken(tracking_store):
    first = prepare()
    prepare()
    with start_run("train") as run:
        assert dataset_of(run, first) == artifacts_of(first) / "dataset"
        assert run.input_run("dataset") == first


def test_folder_is_taken_as_it_is(run, tracking_store):
    folder = tracking_store / "records"
    folder.mkdir()
    assert dataset_of(run, "records") == folder
    assert run.input_run("dataset") is None
    assert run.input_tags("dataset") == {}
    assert mlflow.get_run(run.id).data.tags["odml.input.dataset"] == str(folder)


@pytest.mark.parametrize("uri", ["models:/detector/1", "models:/detector@champion", "models:/prod/1"])
def test_registered_model_leads_to_the_run_that_made_it(tracking_store, uri):
    with start_run("export_and_freeze") as exported:
        (exported.artifact_folder("graph").path / "labels.pbtxt").write_text("x")
        model = mlflow.create_external_model(name="detector", source_run_id=exported.id)
    version = mlflow.register_model(f"models:/{model.model_id}", "detector")
    mlflow.MlflowClient().set_registered_model_alias("detector", "champion", version.version)
    mlflow.MlflowClient().copy_model_version("models:/detector@champion", "prod")
    with start_run("detect") as run:
        run.input("export", uri, operations=("export_and_freeze",), artifact="graph")
        assert run.input_run("export") == exported.id
    tags = mlflow.get_run(run.id).data.tags
    assert (tags["odml.input.export"], tags["odml.input.export.model"]) == (exported.id, uri)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "",
            'experiment tests: no run of prepare with dataset/ found; run "mlflow run . -e prepare" first, '
            "or pass -P dataset=",
        ),
        ("nowhere", "dataset: 'nowhere' is neither a run id nor a folder in {cwd}; give a run of prepare or a folder"),
        (NO_RUN, f"dataset: run {NO_RUN} is not in sqlite:///{{cwd}}/mlflow.db; check the id"),
        ("{own}", "dataset: run {own} has no dataset/; give a run of prepare"),
        (
            "models:/a@b",
            "models:/a@b: cannot be found (Registered Model with name=a not found); see Models in mlflow ui",
        ),
        ("models:/a/b/c", "models:/a/b/c: is no model; write models:/NAME/VERSION or models:/NAME@ALIAS"),
    ],
)
def test_input_that_cannot_be_found_is_an_error(run, tracking_store, value, message):
    with pytest.raises(TrackingError) as error:
        dataset_of(run, value.format(own=run.id))
    assert str(error.value) == message.format(own=run.id, cwd=tracking_store)
