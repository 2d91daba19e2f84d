import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odml.batch_detection import Outcome, detect_in_files, drawn_names
from odml.detector import Detector
from tests.quadrants import LABEL_MAP, Quadrants, coloured

RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    Image.fromarray(coloured(100, 200, top_left=RED, elsewhere=BLACK)).save(folder / "red.png")
    Image.fromarray(coloured(120, 100, top_left=GREEN, elsewhere=BLACK)).save(folder / "more" / "green.gif")
    Image.fromarray(coloured(100, 100, top_left=BLACK, elsewhere=BLACK)).save(folder / "nothing.bmp")
    return folder


def detect(paths, output, root, score_threshold=0.1):
    output.mkdir()
    detector = Detector(Quadrants().detect, LABEL_MAP)
    return detect_in_files(detector, paths, output, root=root, score_threshold=score_threshold, max_detections=100)


def test_pictures_are_drawn_and_detections_listed(photos, tmp_path):
    paths = [photos / "more" / "green.gif", photos / "nothing.bmp", photos / "red.png"]
    assert detect(paths, tmp_path / "out", photos) == Outcome(images=3, detections=2, unreadable=())
    assert (tmp_path / "out" / "detections.json").read_text() == (
        "[\n"
        '  {"file": "more/green.gif", "label": "it\'s green", "class_id": 2, "score": 1.0,'
        ' "box": [0.0, 0.0, 50.0, 60.0]},\n'
        '  {"file": "red.png", "label": "red", "class_id": 1, "score": 1.0, "box": [0.0, 0.0, 100.0, 50.0]}\n'
        "]\n"
    )
    drawn = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    assert drawn == ["more/green.png", "nothing.png", "red.png"]
    with Image.open(tmp_path / "out" / "red.png") as picture:
        assert picture.size == (200, 100)
        assert np.any(np.asarray(picture) != coloured(100, 200, top_left=RED, elsewhere=BLACK))


def test_unreadable_picture_is_named_and_the_others_are_done(photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"no picture")
    outcome = detect([photos / "broken.jpg", photos / "red.png"], tmp_path / "out", photos)
    assert outcome == Outcome(
        images=1,
        detections=1,
        unreadable=(
            f"{photos / 'broken.jpg'}: cannot be read as a picture (its content is of no known format);"
            " replace it by a JPEG, PNG, GIF or BMP file",
        ),
    )


def test_nothing_found_is_an_empty_list(photos, tmp_path):
    assert detect([photos / "nothing.bmp"], tmp_path / "out", photos) == Outcome(1, 0, ())
    assert json.loads((tmp_path / "out" / "detections.json").read_text()) == []


def test_order_of_the_list_is_that_of_the_paths(photos, tmp_path):
    paths = []
    for number in range(30):
        paths.append(photos / f"{number:02}.png")
        Image.fromarray(coloured(96 + number % 3, 96, top_left=RED, elsewhere=BLACK)).save(paths[-1])
    detect(paths, tmp_path / "out", photos)
    entries = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [entry["file"] for entry in entries] == [path.name for path in paths]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/photo.JPG", "photo.jpg"], ["a/photo.png", "photo.png"]),
        (["photo.jpg", "photo.png"], ["photo.jpg.png", "photo.png.png"]),
        (["photo.jpg", "Photo.png"], ["photo.jpg.png", "Photo.png.png"]),
        (["a.jpg", "a.png", "a.jpg.gif"], ["a.jpg.png", "a.png.png", "a.jpg.gif.png"]),
    ],
)
def test_drawn_pictures_have_names_of_their_own(paths, names):
    assert list(drawn_names(map(Path, paths)).values()) == list(map(Path, names))
