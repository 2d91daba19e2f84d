from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from odml.errors import TrackingError
from odml.tracking import EventFolders, Run, start_run

EVENTS = "events.out.tfevents.1"


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    folder = tmp_path / "logdir"
    folder.mkdir()
    return folder


def trainings(logdir: Path) -> EventFolders:
    return EventFolders(logdir, ("train", "transfer_learn"))


def log_events(run: Run, text: str = "events") -> Path:
    path = run.artifact_folder("tensorboard").path / EVENTS
    path.write_text(text)
    return path


def test_runs_are_found_while_they_go_on_under_names_for_people(tracking_store, logdir):
    with start_run("prepare"):
        pass
    folders = trainings(logdir)
    assert folders.refresh() == []
    with start_run("train", model="ssd") as run:
        assert folders.refresh() == []
        events = log_events(run)
        name = f"train ssd {run.id[:8]}"
        assert folders.refresh() == [name]
        events.write_text("more events")
        assert (logdir / name / EVENTS).read_text() == "more events"
        assert folders.refresh() == [name]


def test_name_that_is_a_path_is_one_folder(tracking_store, logdir):
    with start_run("train", model="/data/mine.yml") as run:
        log_events(run)
    assert trainings(logdir).refresh() == [f"train _data_mine.yml {run.id[:8]}"]


def test_deleted_run_is_removed_but_not_its_events(tracking_store, logdir):
    with start_run("train") as run:
        events = log_events(run)
    folders = trainings(logdir)
    folders.refresh()
    mlflow.delete_run(run.id)
    assert folders.refresh() == []
    assert events.read_text() == "events"


def test_run_of_another_experiment_is_not_shown(tracking_store, logdir, monkeypatch):
    with start_run("train") as run:
        log_events(run)
    mlflow.MlflowClient().create_experiment("other", str(tracking_store))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
    assert trainings(logdir).refresh() == []


def test_copy_of_remote_events_grows_in_place(cloud, logdir):
    folders = trainings(logdir)
    with start_run("train") as run:
        folder = run.artifact_folder("tensorboard")
        (folder.path / EVENTS).write_text("first")
        folder.publish()
        (name,) = folders.refresh()
        copy = logdir / name / EVENTS
        before = copy.stat().st_ino
        (folder.path / EVENTS).write_text("first, second")
        folder.publish()
        folders.refresh()
        assert copy.read_text() == "first, second"
        assert copy.stat().st_ino == before


def test_remote_events_are_downloaded_only_when_there_are_more(cloud, logdir):
    folders = trainings(logdir)
    with start_run("train") as run:
        folder = run.artifact_folder("tensorboard")
        (folder.path / "inner").mkdir()
        (folder.path / "inner" / EVENTS).write_text("first")
        folder.publish()
        folders.refresh()
        folders.refresh()
    folders.refresh()
    assert cloud.downloads == [EVENTS]


def test_events_of_a_run_that_was_resumed_are_shown_too(cloud, logdir):
    folders = trainings(logdir)
    with start_run("train") as run:
        log_events(run)
    (name,) = folders.refresh()
    with start_run("train", resume=run.id) as run:
        (run.artifact_folder("tensorboard").path / f"{EVENTS}.resumed").write_text("more")
    folders.refresh()
    assert sorted(path.name for path in (logdir / name).iterdir()) == [EVENTS, f"{EVENTS}.resumed"]


def test_store_that_is_down_is_an_error_and_leaves_what_is_there(cloud, logdir, monkeypatch):
    folders = trainings(logdir)
    with start_run("train") as run:
        log_events(run)
    (name,) = folders.refresh()
    with start_run("train") as run:
        log_events(run)
    monkeypatch.setattr(cloud, "is_down", True)
    with pytest.raises(TrackingError) as error:
        folders.refresh()
    assert str(error.value).startswith("events of experiment remote: cannot be read (")
    assert (logdir / name / EVENTS).read_text() == "events"
