from __future__ import annotations

import json
import shutil
import signal
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
from tests.voc_files import AnnotatedFolder, voc_object

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


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


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
    assert files_in(detected()) == ["detections.json", "drawn/more/green.jpg", "drawn/red.jpg", "gallery.html"]
    assert "model</b>" not in (detected() / "gallery.html").read_text()


def test_run_is_linked_to_the_export_and_counts(export_run: str, photos: Path):
    run("--images", photos, "--score-threshold", "0.1", "--max-detections", "2", "--outputs", "json")
    data = latest_run().data
    assert data.tags["odml.input.export"] == export_run
    assert (data.tags["odml.model"], data.tags["odml.step"]) == ("quadrants", "7")
    counts = {name: value for name, value in data.metrics.items() if name != "detect/images_per_second"}
    assert counts == {
        "detect/images": 2,
        "detect/detections": 3,
        "detect/unreadable": 0,
        "detect/skipped": 0,
        "detect/existing": 0,
        "detect/per_class/red": 1,
        "detect/per_class/it:27:s green": 2,
    }
    images = Path(latest_run().info.artifact_uri, "images")
    assert len([path for path in images.iterdir() if path.suffix == ".png"]) == 2
    assert files_in(detected()) == ["detections.json"]


def test_one_image_is_enough(export_run: str, photos: Path):
    result = run("--images", photos / "red.png")
    assert result.stdout == f"1 detections in 1 images: {detected()}\n"
    assert [entry["file"] for entry in json.loads((detected() / "detections.json").read_text())] == ["red.png"]


def test_list_comes_from_standard_input(export_run: str, photos: Path):
    result = CliRunner().invoke(detect, ["--images", "-", "--outputs", "csv"], input=f"{photos}/red.png\n")
    assert result.stdout == f"1 detections in 1 images: {detected()}\n"
    assert files_in(detected()) == ["detections.csv"]


def test_export_may_be_a_folder(tracking_store: Path, graph: Path, photos: Path):
    assert run("--images", photos, "--export", graph, "--outputs", "json").exit_code == 0
    assert latest_run().data.tags["odml.input.export"] == str(graph)


def test_earlier_detections_are_gone_on_with(export_run: str, photos: Path, tmp_path: Path):
    options = ("--images", photos, "--output-dir", tmp_path / "out", "--skip-existing", "true")
    first = run(*options, "--outputs", "json,drawn,gallery")
    assert first.stdout == f"2 detections in 2 images: {tmp_path}/out\n"
    shutil.copy(photos / "red.png", photos / "z.png")
    second = run(*options, "--outputs", "json,drawn,gallery")
    assert second.stdout == f"3 detections in 3 images, 2 of them before: {tmp_path}/out\n"
    third = run(*options, "--outputs", "json,drawn,gallery")
    assert third.stdout == f"3 detections in 3 images, 3 of them before: {tmp_path}/out\n"
    entries = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [entry["file"] for entry in entries] == ["more/green.PNG", "red.png", "z.png"]
    assert latest_run().data.tags["odml.output_dir"] == f"{tmp_path}/out"
    assert latest_run().data.metrics["detect/existing"] == 3
    assert Path(latest_run().info.artifact_uri, "detected", "gallery.html").is_file()
    refused = run(*options[:-1], "false")
    assert (refused.exit_code, refused.stderr) == (
        1,
        f"Error: output_dir: {tmp_path}/out is not empty; give a new folder, or skip_existing=true to go on in this"
        " one\n",
    )


def test_ground_truth_is_drawn_beside(export_run: str, tracking_store: Path):
    (tracking_store / "set").mkdir()
    folder = AnnotatedFolder(tracking_store / "set")
    folder.add("a", voc_object("red"))
    folder.add_image("b.png")
    result = run("--images", folder.images, "--annotations", folder.annotations, "--outputs", "drawn")
    assert result.exit_code == 0, result.output
    with Image.open(detected() / "drawn" / "a.jpg") as one, Image.open(detected() / "drawn" / "b.jpg") as other:
        assert one.width > 2 * other.width


def test_unreadable_images_are_listed_after_the_others_are_done(export_run: str, photos: Path):
    (photos / "broken.jpg").write_bytes(b"no picture")
    result = run("--images", photos)
    assert result.exit_code == 1
    reason = (
        f"{photos}/broken.jpg: cannot be read as a picture (its content is of no known format); replace it by a"
        " JPEG, PNG, GIF or BMP file\n"
    )
    assert result.stderr.endswith(f"Error: {photos}: 1 of 3 images cannot be read:\n  {reason}")
    assert len(json.loads((detected() / "detections.json").read_text())) == 2
    assert (detected() / "unreadable.txt").read_text() == reason
    assert latest_run().data.metrics["detect/unreadable"] == 1
    assert latest_run().info.status == "FAILED"


def test_no_more_than_some_unreadable_images_are_listed(export_run: str, photos: Path):
    for number in range(25):
        (photos / f"broken{number:02}.jpg").write_bytes(b"no picture")
    lines = run("--images", photos, "--outputs", "json").stderr.splitlines()
    assert len([line for line in lines if "broken" in line]) == 20
    assert lines[-1] == "  and 5 more, which unreadable.txt names"


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
        ("--frame-step", "0", "frame_step: 0 is below 1; give 1 for every frame"),
        ("--skip-existing", "true", "skip_existing: needs output_dir, the folder to go on in; give both or neither"),
        ("--tile-overlap", "2", "tile_overlap: 2.0 is not in 0 to 0.9; give a share of a tile's side"),
    ],
)
def test_parameter_out_of_range_is_refused(photos: Path, option: str, value: str, message: str):
    result = run("--images", photos, "--tiles", "2x2", option, value)
    assert (result.exit_code, result.stderr) == (1, f"Error: {message}\n")


def test_folder_that_cannot_be_made_is_told(export_run: str, photos: Path):
    result = run("--images", photos, "--output-dir", photos / "red.png" / "out")
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {photos}/red.png/out: cannot be written (Not a directory); make room, or choose another folder\n",
    )


def test_annotations_need_files(tracking_store: Path):
    result = run("--images", "http://127.0.0.1:1/a.jpg", "--annotations", tracking_store)
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: annotations: are for picture files, and images names none; leave them out\n",
    )


def test_without_an_export_it_says_how_to_make_one(photos: Path):
    result = run("--images", photos)
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: experiment tests: no run of export_and_freeze with graph/ found; "
        'run "mlflow run . -e export_and_freeze" first, or pass -P export=\n'
    )


def test_request_to_stop_ends_it_in_order(export_run: str, photos: Path, monkeypatch: pytest.MonkeyPatch):
    for number in range(100):
        shutil.copy(photos / "red.png", photos / f"{number:03}.png")
    shown = []

    def show(*given: object, **others: object) -> None:
        shown.append(given)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("odml.tracking.Run.log_image", show)
    result = run("--images", photos, "--outputs", "json,drawn")
    assert result.exit_code == 1
    assert result.stdout.endswith("stopped by SIGINT; what was found until then is there\n")
    drawn = [file for file in files_in(detected()) if file.startswith("drawn/")]
    assert 0 < len(drawn) < 100
    assert len(json.loads((detected() / "detections.json").read_text())) == len(drawn)
    assert latest_run().info.status == "KILLED"
    assert latest_run().data.tags["odml.stop_reason"] == "SIGINT"
