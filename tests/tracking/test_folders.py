from __future__ import annotations

import shutil
from pathlib import Path

import mlflow
import pytest

from odml.errors import TrackingError
from odml.tracking import Run, input_folder, start_run


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


def test_local_folder_is_the_runs_own_so_that_others_see_it_grow(tracking_store):
    with start_run("train") as run:
        folder = run.artifact_folder("train")
        write(folder.path, checkpoint="1")
        assert folder.path == Path(run.artifact_uri) / "train"
        assert [each.path for each in mlflow.MlflowClient().list_artifacts(run.id, "train")] == ["train/checkpoint"]


def test_checkpoint_is_uploaded_after_the_files_that_it_names(cloud):
    with start_run("train") as run:
        folder = run.artifact_folder("train")
        write(folder.path, checkpoint="1", model="weights", zeros="0")
        folder.publish()
    assert cloud.uploads == ["train/model", "train/zeros", "train/checkpoint"]


def test_only_new_and_changed_files_are_uploaded_again(cloud):
    with start_run("train") as run:
        folder = run.artifact_folder("train")
        write(folder.path, checkpoint="1", model="weights")
        folder.publish()
        cloud.uploads.clear()
        write(folder.path, checkpoint="12", more="weights")
        (folder.path / "events").mkdir()
        write(folder.path / "events", first="e")
        folder.publish()
        assert cloud.uploads == ["train/events/first", "train/more", "train/checkpoint"]


@pytest.mark.parametrize(("can_delete", "left"), [(True, ["train/new"]), (False, ["train/new", "train/old"])])
def test_file_that_is_gone_is_deleted_where_the_store_can(cloud, monkeypatch, can_delete, left):
    monkeypatch.setattr(cloud, "can_delete", can_delete)
    with start_run("train") as run:
        folder = run.artifact_folder("train")
        write(folder.path, old="1", new="2")
        folder.publish()
        (folder.path / "old").unlink()
        folder.publish()
    assert [each.path for each in mlflow.MlflowClient().list_artifacts(run.id, "train")] == left


def test_upload_that_fails_is_warned_about_once_and_made_up_for(cloud, monkeypatch, caplog):
    with start_run("train") as run:
        folder = run.artifact_folder("train")
        write(folder.path, checkpoint="1")
        monkeypatch.setattr(cloud, "is_down", True)
        folder.publish()
        folder.publish()
        assert caplog.messages == [
            f"train/: cannot be uploaded yet (cloud is down); the files stay in {folder.path}",
        ]
        monkeypatch.setattr(cloud, "is_down", False)
    assert cloud.uploads == ["train/checkpoint"]
    assert not folder.path.exists()


def test_files_that_never_got_up_are_kept_and_the_end_says_where(cloud, monkeypatch):
    run = Run(mlflow.start_run())
    folder = run.artifact_folder("train")
    write(folder.path, checkpoint="1")
    monkeypatch.setattr(cloud, "is_down", True)
    with pytest.raises(TrackingError) as error:
        run.close()
    expected = f"run {run.id}: train/ was not uploaded (cloud is down); its files are in {folder.path}"
    assert str(error.value) == expected
    assert (folder.path / "checkpoint").read_text() == "1"
    shutil.rmtree(folder.path.parent)


def test_input_is_downloaded_and_removed_when_the_run_ends(cloud):
    with start_run("train") as trained:
        write(trained.artifact_folder("train").path, checkpoint="1")
    with start_run("evaluate") as run:
        folder = run.input("trained_model", "", operations=("train",), artifact="train")
        assert (folder / "checkpoint").read_text() == "1"
    assert not folder.exists()


def test_of_an_input_only_what_is_needed_is_downloaded(cloud):
    with start_run("prepare") as prepared:
        write(prepared.artifact_folder("dataset").path, **{"dataset.yml": "", "train": "1", "val": "2"})
    with start_run("evaluate") as run:
        folder = run.input(
            "dataset", "", operations=("prepare",), artifact="dataset", needed=lambda name: name != "train"
        )
        assert sorted(path.name for path in folder.iterdir()) == ["dataset.yml", "val"]
        run.download("dataset", needed=lambda name: name == "train")
        assert sorted(path.name for path in folder.iterdir()) == ["dataset.yml", "train", "val"]
        assert (folder / "train").read_text() == "1"
    assert not folder.exists()
    with input_folder(
        "dataset", prepared.id, operations=("prepare",), artifact="dataset", needed=lambda name: name == "val"
    ) as folder:
        assert [path.name for path in folder.iterdir()] == ["val"]
    assert sorted(path.split("/")[-1] for path in cloud.downloads) == ["dataset.yml", "train", "val", "val"]
