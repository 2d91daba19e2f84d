"""One operation is one run: what a run says about itself, whatever its end."""

from __future__ import annotations

import mlflow
import numpy as np
import pytest
from PIL import Image

from odml import __version__, tracking
from odml.errors import RecordError, TrackingError
from odml.tracking import given_run, start_run
from odml.tracking.processes import Process


def logged(run_id: str) -> mlflow.entities.Run:
    return mlflow.get_run(run_id)


def artifacts_of(run_id: str, folder: str | None = None) -> list[str]:
    return [each.path for each in mlflow.MlflowClient().list_artifacts(run_id, folder)]


def as_mlflow_run_does(monkeypatch: pytest.MonkeyPatch, *, name: str | None = None) -> str:
    """Make a run for an operation to go on in, and give its id."""
    experiment_id = mlflow.get_experiment_by_name("tests").experiment_id
    made = mlflow.MlflowClient().create_run(experiment_id, run_name=name).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", made)
    return made


def test_run_says_what_it_is(tracking_store):
    with start_run("train", model="ssd_mobilenet_v2") as run:
        pass
    tags = logged(run.id).data.tags
    assert logged(run.id).info.status == "FINISHED"
    assert logged(run.id).info.run_name == "train ssd_mobilenet_v2"
    assert {name: value for name, value in tags.items() if name.startswith("odml.")} == {
        "odml.operation": "train",
        "odml.model": "ssd_mobilenet_v2",
        "odml.version": __version__,
        **Process.of_pid().to_tags(),
    }


@pytest.mark.parametrize(("given", "kept"), [("mine", "mine"), (None, "train ssd")])
def test_run_that_mlflow_run_has_made_is_resumed_with_its_name_unless_that_is_by_chance(
    given, kept, tracking_store, monkeypatch
):
    made = as_mlflow_run_does(monkeypatch, name=given)
    with start_run("train", model="ssd") as run:
        assert run.id == made
    assert logged(run.id).info.run_name == kept
    assert logged(run.id).data.tags["odml.operation"] == "train"


@pytest.mark.parametrize(("given", "kept"), [("mine", "mine"), (None, "evaluate ssd")])
def test_model_that_is_found_later_is_added_to_the_name_unless_the_user_gave_one(
    given, kept, tracking_store, monkeypatch
):
    as_mlflow_run_does(monkeypatch, name=given)
    with start_run("evaluate") as run:
        run.tag_model("ssd")
    assert logged(run.id).info.run_name == kept
    assert logged(run.id).data.tags["odml.model"] == "ssd"


def test_name_has_one_model_the_last_that_was_told(tracking_store):
    with start_run("train", model="ssd") as run:
        run.tag_model("faster_rcnn")
    assert logged(run.id).info.run_name == "train faster_rcnn"


def test_operation_that_leaves_nothing_makes_no_run_of_its_own(tracking_store, monkeypatch):
    with given_run("stop") as run:
        assert run is None
    assert mlflow.search_runs(experiment_names=["tests"], output_format="list") == []
    made = as_mlflow_run_does(monkeypatch)
    with given_run("stop") as run:
        assert run.id == made
    assert logged(run.id).data.tags["odml.operation"] == "stop"
    assert logged(run.id).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("error", "status", "tag"),
    [
        (RecordError("a: is bad; fix it\nmore"), "FAILED", "a: is bad; fix it"),
        (ZeroDivisionError("by zero"), "FAILED", "ZeroDivisionError: by zero"),
        (SystemExit(3), "FAILED", "SystemExit: 3"),
        (KeyboardInterrupt(), "KILLED", None),
    ],
)
def test_run_that_an_exception_ends_says_why(tracking_store, error, status, tag):
    with pytest.raises(type(error)), start_run("train") as run:
        raise error
    assert logged(run.id).info.status == status
    assert logged(run.id).data.tags.get("odml.error") == tag


def test_experiment_that_a_server_made_is_refused_by_name(tracking_store, monkeypatch):
    mlflow.MlflowClient().create_experiment("theirs", "mlflow-artifacts:/7")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    with pytest.raises(TrackingError) as error, start_run("train"):
        pass
    assert str(error.value) == (
        "experiment theirs: an MLflow server made it and keeps its artifacts, but the tracking store is "
        f"sqlite:///{tracking_store}/mlflow.db; use another experiment (MLFLOW_EXPERIMENT_NAME), "
        "or set MLFLOW_TRACKING_URI to the server's address"
    )
    assert mlflow.search_runs(experiment_names=["theirs"])["status"].tolist() == ["FAILED"]


def test_store_that_does_not_answer_is_an_error(tracking_store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"^tracking store http://127.0.0.1:9: .*; check MLFLOW_TRACKING_URI and"):
        tracking.open_store()
    with pytest.raises(TrackingError, match=r"^tracking store http://127.0.0.1:9: "), start_run("train"):
        pass


def test_stores_are_mlflows_defaults(tracking_store):
    assert tracking.open_store() == f"sqlite:///{tracking_store}/mlflow.db"
    assert tracking.open_registry() == f"sqlite:///{tracking_store}/mlflow.db"


def test_metrics_are_logged_with_their_step(tracking_store):
    with start_run("train") as run:
        run.log_metrics({"loss": 2.0, "AP/c#": 0.5, "mAP_small": None}, step=10)
        run.log_metrics({"loss": np.float32(1.0)}, step=20)
    history = mlflow.MlflowClient().get_metric_history(run.id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(10, 2.0), (20, 1.0)]
    assert tracking.run_metrics(run.id) == {"loss": 1.0, "AP/c:23:": 0.5}


def test_settings_are_flat_parameters(tracking_store):
    with start_run("train") as run:
        run.log_parameters({"seed": 1, "train": {"rate": 0.1, "sizes": [1, 2]}, "empty": {}})
    assert logged(run.id).data.params == {
        "cfg.seed": "1",
        "cfg.train.rate": "0.1",
        "cfg.train.sizes": "[1, 2]",
        "cfg.empty": "{}",
    }


def test_any_number_of_settings_is_logged(tracking_store):
    with start_run("train") as run:
        run.log_parameters({f"key_{index}": index for index in range(250)})
    assert len(logged(run.id).data.params) == 250


def test_pictures_texts_tables_and_files_are_artifacts(tracking_store):
    picture = tracking_store / "a.png"
    Image.new("RGB", (4, 4)).save(picture)
    (tracking_store / "folder" / "inner").mkdir(parents=True)
    (tracking_store / "folder" / "inner" / "b.txt").write_text("b")
    with start_run("evaluate") as run:
        run.log_picture(Image.new("RGB", (4, 4)), "samples.png")
        run.log_text("hello", "evaluation/summary.txt")
        run.log_table([{"name": "cat", "AP": 0.5}, {"name": "dog", "AP": None}], "per_class.json")
        run.log_artifact(picture, "detected")
        run.log_artifacts(tracking_store / "folder", "all")
    assert artifacts_of(run.id) == ["all", "detected", "evaluation", "per_class.json", "samples.png"]
    assert artifacts_of(run.id, "all") == ["all/inner"]
    assert artifacts_of(run.id, "detected") == ["detected/a.png"]
    table = mlflow.load_table("per_class.json", run_ids=[run.id])
    assert table["name"].tolist() == ["cat", "dog"]


def test_images_of_a_series_are_kept_by_key_and_step(tracking_store):
    with start_run("train") as run:
        for step in (10, 20):
            run.log_image(np.zeros((4, 4, 3), np.uint8), "eval/image_0", step)
    names = [path for path in artifacts_of(run.id, "images") if path.endswith(".png")]
    assert [name.split("+")[:3] for name in sorted(names)] == [
        ["images/eval~image_0", "step", "10"],
        ["images/eval~image_0", "step", "20"],
    ]


def test_file_that_cannot_be_stored_is_an_error(tracking_store):
    with start_run("detect") as run, pytest.raises(TrackingError) as error:
        run.log_artifact(tracking_store / "missing.png")
    reason = f"[Errno 2] No such file or directory: '{tracking_store}/missing.png'"
    assert str(error.value) == f"run {run.id}: missing.png cannot be stored ({reason})"


def test_runs_on_the_same_data_can_be_found(tracking_store):
    with start_run("train") as run:
        run.log_dataset("raccoon", digest="f" * 64, source=tracking_store, context="training")
    (used,) = logged(run.id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("raccoon", "f" * 36)
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]
    found = mlflow.search_runs(filter_string=f"dataset.digest = '{'f' * 36}'", output_format="list")
    assert [each.info.run_id for each in found] == [run.id]


def test_latest_run_is_found_by_its_tags(tracking_store):
    for step in ("10", "20"):
        with start_run("evaluate") as evaluated:
            evaluated.tag("odml.step", step)
    with start_run("register") as run:
        assert run.latest("evaluate", tags={"odml.step": "20"}) == evaluated.id
        assert run.latest("evaluate", tags={"odml.step": "30"}) is None
