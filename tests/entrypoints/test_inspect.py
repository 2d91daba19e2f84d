import json
import shutil
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner, Result
from mlflow.entities import Run

from entrypoints.inspect import inspect
from odml.known_datasets import known
from tests import tiny
from tests.voc_files import AnnotatedFolder, voc_object, voc_xml

BAD = voc_object(box=(30, 1, 12, 10))


@pytest.fixture
def folder(tracking_store: Path) -> AnnotatedFolder:
    folder = AnnotatedFolder(tracking_store)
    folder.add("a", voc_object("cat", box=(2, 3, 20, 25)), BAD)
    return folder


def run(folder: AnnotatedFolder, *options: str) -> Result:
    arguments = ["--images", str(folder.images), "--annotations", str(folder.annotations), *options]
    return CliRunner().invoke(inspect, arguments)


def latest_run() -> Run:
    (run,) = mlflow.search_runs(experiment_names=["tests"], output_format="list")
    return run


def artifacts() -> Path:
    return Path(latest_run().info.artifact_uri)


def test_what_is_found_is_kept_in_the_run_and_told(folder: AnnotatedFolder):
    result = run(folder, "--model", "")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "1 usable images, 1 objects, classes: 1",
        "error: box without area: 1",
        "error: annotations/a.xml: object 2: xmax 12 is not greater than xmin 30; remove or fix the box",
        "classes with fewer than 20 objects: cat (1); they are hard to learn, add pictures",
        f"{artifacts()}/inspection/report.html",
    ]
    assert sorted(path.name for path in artifacts().rglob("*") if path.is_file()) == [
        "aspect_ratios.png",
        "box_places.png",
        "box_sizes.png",
        "classes.json",
        "classes.png",
        "image_sizes.png",
        "objects_per_image.png",
        "problems.json",
        "problems.txt",
        "report.html",
    ]
    message = "xmax 12 is not greater than xmin 30; remove or fix the box"
    assert json.loads((artifacts() / "inspection/problems.json").read_text()) == {
        "columns": ["severity", "kind", "file", "line", "object", "message"],
        "data": [["error", "box without area", "annotations/a.xml", 1, 2, message]],
    }
    metrics = latest_run().data.metrics
    assert (metrics["data/errors"], metrics["data/annotated_objects"], metrics["data/small_share"]) == (1, 1, 1)
    assert latest_run().info.status == "FINISHED"


def test_what_is_mended_is_listed(folder: AnnotatedFolder):
    result = run(folder, "--model", "", "--fix", "drop")
    line = "mended: annotations/a.xml: object 2: xmax 12 is not greater than xmin 30; the object is dropped"
    assert line in result.stdout.splitlines()
    assert (artifacts() / "problems.txt").read_text() == f"{line}\n"
    metrics = latest_run().data.metrics
    assert (metrics["data/errors"], metrics["data/mended"], metrics["data/dropped_objects"]) == (0, 1, 1)


def test_lists_are_looked_through_for_pictures_on_two_sides(folder: AnnotatedFolder, tmp_path: Path):
    shutil.copy(folder.images / "a.png", folder.images / "b.png")
    folder.add_xml("b.xml", voc_xml(voc_object("cat"), filename="b.png"))
    for side, name in {"train": "a", "val": "b"}.items():
        (tmp_path / f"{side}.txt").write_text(name)
    result = run(folder, "--model", "", "--fix", "drop", "--train-list", "train.txt", "--val-list", "val.txt")
    assert result.exit_code == 0, result.output
    assert "warning: picture in two splits: 1" in result.stdout.splitlines()
    assert "images/b.png: is for val, but shows the same as images/a.png" in (artifacts() / "problems.txt").read_text()


def test_a_known_data_set_is_inspected(tracking_store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(known, "_SHAPES", 3)
    monkeypatch.setenv("ODML_CACHE", str(tracking_store / "cache"))
    result = CliRunner().invoke(inspect, ["--dataset", "shapes", "--model", ""])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("3 usable images, ")
    assert "Inspection of shapes" in (artifacts() / "inspection" / "report.html").read_text()


def test_a_preview_needs_a_model(folder: AnnotatedFolder):
    result = run(folder, "--model", "", "--preview", "true")
    assert result.exit_code == 1
    assert result.stderr == "Error: preview: needs the model that is to see the images; give model too\n"


def test_objects_are_compared_with_the_anchors_and_a_preview_is_kept(folder: AnnotatedFolder, tmp_path: Path):
    (tmp_path / "tiny.yml").write_text(tiny.MODEL)
    result = run(folder, "--model", "tiny.yml", "--preview", "true", "--seed", "1")
    assert result.exit_code == 0, result.output
    # Its share of the picture, 0.45 x 0.77, is about that of the anchors of the second grid.
    assert "100.0% of the objects overlap an anchor of tiny by 0.5 or more" in result.stdout.splitlines()
    assert latest_run().data.metrics["data/matched_by_anchors"] == 1
    assert (artifacts() / "inspection" / "preview.png").is_file()
