from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner, Result
from mlflow.entities import Run
from PIL import Image

from entrypoints.detect import detect
from odml.export import export
from odml.tracking import start_run
from tests.quadrants import LABEL_MAP, Quadrants, coloured

RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "graph"
    export(Quadrants(), folder, label_map=LABEL_MAP, step=7)
    return folder


@pytest.fixture
def export_run(tracking_store: Path, graph: Path) -> str:
    with start_run("export_and_freeze", model="quadrants") as run:
        run.tag("odml.step", 7)
        run.log_artifacts(graph, "graph")
    return run.id


@pytest.fixture
def photos(tracking_store: Path) -> Path:
    folder = tracking_store / "photos"
    (folder / "more").mkdir(parents=True)
    Image.fromarray(coloured(100, 200, top_left=RED, elsewhere=(0, 51, 0))).save(folder / "red.png")
    Image.fromarray(coloured(120, 100, top_left=GREEN, elsewhere=BLACK)).save(folder / "more" / "green.PNG")
    return folder


def run(*options: object) -> Result:
    return CliRunner().invoke(detect, [str(option) for option in options])


def latest_run() -> Run:
    return mlflow.search_runs(
        experiment_names=["tests"], filter_string="tags.`odml.operation` = 'detect'", output_format="list"
    )[0]


def detected() -> Path:
    return Path(latest_run().info.artifact_uri, "detected")


def test_folder_is_drawn_and_listed_with_the_latest_export(export_run: str, photos: Path):
    (photos / "notes.txt").write_text("no picture")
    result = run("--images", photos)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"2 detections in 2 images: {detected()}; 1 other files were skipped\n"
    assert json.loads((detected() / "detections.json").read_text()) == [
        {"file": "more/green.PNG", "label": "it's green", "class_id": 2, "score": 1.0, "box": [0, 0, 50, 60]},
        {"file": "red.png", "label": "red", "class_id": 1, "score": 1.0, "box": [0, 0, 100, 50]},
    ]
    assert sorted(str(path.relative_to(detected())) for path in detected().rglob("*.png")) == [
        "more/green.png",
        "red.png",
    ]


def test_run_is_linked_to_the_export_and_counts(export_run: str, photos: Path):
    run("--images", photos, "--score-threshold", "0.1", "--max-detections", "2")
    data = latest_run().data
    assert data.tags["odml.input.export"] == export_run
    assert (data.tags["odml.model"], data.tags["odml.step"]) == ("quadrants", "7")
    assert data.metrics == {"detect/images": 2, "detect/detections": 3, "detect/unreadable": 0, "detect/skipped": 0}
    images = Path(latest_run().info.artifact_uri, "images")
    assert len([path for path in images.iterdir() if path.suffix == ".png"]) == 2


def test_one_image_is_enough(export_run: str, photos: Path):
    result = run("--images", photos / "red.png")
    assert result.stdout == f"1 detections in 1 images: {detected()}\n"
    assert [entry["file"] for entry in json.loads((detected() / "detections.json").read_text())] == ["red.png"]


def test_export_may_be_a_folder(tracking_store: Path, graph: Path, photos: Path):
    assert run("--images", photos, "--export", graph).exit_code == 0
    assert latest_run().data.tags["odml.input.export"] == str(graph)


def test_unreadable_images_are_listed_after_the_others_are_done(export_run: str, photos: Path):
    (photos / "broken.jpg").write_bytes(b"no picture")
    result = run("--images", photos)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {photos}: 1 of 3 images cannot be read:\n"
        f"  {photos}/broken.jpg: cannot be read as a picture (its content is of no known format); replace it by a"
        " JPEG, PNG, GIF or BMP file\n"
    )
    assert len(json.loads((detected() / "detections.json").read_text())) == 2
    assert latest_run().data.metrics["detect/unreadable"] == 1
    assert latest_run().info.status == "FAILED"


def test_folder_without_images_is_refused(tracking_store: Path):
    (tracking_store / "empty").mkdir()
    result = run("--images", tracking_store / "empty")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {tracking_store}/empty: holds no image (.bmp, .gif, .jpeg, .jpg, .png); pass another folder\n"
    )


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--score-threshold", "1.5", "score_threshold: 1.5 is not in 0 to 1; give a number in that range"),
        ("--max-detections", "0", "max_detections: 0 is below 1; give at least 1"),
    ],
)
def test_parameter_out_of_range_is_refused(photos: Path, option: str, value: str, message: str):
    result = run("--images", photos, option, value)
    assert (result.exit_code, result.stderr) == (1, f"Error: {message}\n")


def test_without_an_export_it_says_how_to_make_one(photos: Path):
    result = run("--images", photos)
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: experiment tests: no run of export_and_freeze with graph/ found; "
        'run "mlflow run . -e export_and_freeze" first, or pass -P export=\n'
    )
