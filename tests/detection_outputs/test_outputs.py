"""What every output keeps, and the few that need no test of their own."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from odml import annotations
from odml.detection_outputs import OUTPUTS, parse_outputs
from odml.errors import ConfigurationError
from odml.image_index import ImageIndex
from odml.inspection import inspect
from odml.structures import Annotation
from tests.found import result, setup

CAT, DOG = ([2, 3, 12.5, 17], 0.91234567, 1), ([20, 0, 40, 20], 0.5, 2)
NAMES = ("a/one.png", "two.png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(result(name).image // len(name)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def write(name: str, folder: Path, *results) -> None:
    """Pass results to an output as a detection does."""
    output = OUTPUTS[name](setup(folder, *(each.name for each in results)))
    for each in results:
        written = None if each.image is None else output.write(each)
        output.add(each, written)
        assert output.has(each)
    output.close()


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", OUTPUTS)
def test_nothing_found_in_no_picture_is_written_too(name, tmp_path):
    write(name, tmp_path)
    write(name, tmp_path, result("none.jpg"))
    assert not [file for file in files_in(tmp_path) if file.endswith(".part")]


@pytest.mark.parametrize("name", OUTPUTS)
def test_files_of_all_pictures_appear_only_when_they_are_whole(name, tmp_path):
    output = OUTPUTS[name](setup(tmp_path, "one.jpg"))
    output.add(result("one.jpg", CAT), output.write(result("one.jpg", CAT)))
    begun = set(files_in(tmp_path))
    assert all(file.endswith((".part", "one.jpg", "one-1.jpg", "one.xml", ".txt", "data.yaml")) for file in begun)
    output.close()
    assert not [file for file in files_in(tmp_path) if file.endswith(".part")]


def test_outputs_are_given_by_name():
    assert parse_outputs("json, coco,json") == ["json", "coco"]
    choices = "drawn, gallery, json, jsonl, csv, coco, pascal_voc, yolo, crops, with commas between"
    for text, wrong in (("json,xml", "there is no 'xml'"), ("", "none is given")):
        with pytest.raises(ConfigurationError) as raised:
            parse_outputs(text)
        assert str(raised.value) == f"outputs: {wrong}; choose from {choices}"


def test_json_has_an_entry_a_line(tmp_path):
    write("json", tmp_path, result("a/one.png", CAT, DOG), result("two.png"))
    assert (tmp_path / "detections.json").read_text() == (
        "[\n"
        '  {"file": "a/one.png", "label": "cat", "class_id": 1, "score": 0.9123, "box": [2.0, 3.0, 12.5, 17.0]},\n'
        '  {"file": "a/one.png", "label": "it\'s a/dog", "class_id": 2, "score": 0.5, "box": [20.0, 0.0, 40.0, 20.0]}\n'
        "]\n"
    )


def test_json_lines_have_a_picture_a_line(tmp_path):
    write("jsonl", tmp_path, result("a/one.png", CAT), result("two.png"))
    one, two = map(json.loads, (tmp_path / "detections.jsonl").read_text().splitlines())
    assert one == {
        "file": "a/one.png",
        "source": "/photos/a/one.png",
        "width": 40,
        "height": 20,
        "detections": [{"label": "cat", "class_id": 1, "score": 0.9123, "box": [2.0, 3.0, 12.5, 17.0]}],
    }
    assert two["detections"] == []


def test_csv_has_a_detection_a_row(tmp_path):
    write("csv", tmp_path, result('a "b", c.png', CAT), result("two.png"))
    with (tmp_path / "detections.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["file", "label", "class_id", "score", "x1", "y1", "x2", "y2", "width", "height"],
        ['a "b", c.png', "cat", "1", "0.9123", "2.0", "3.0", "12.5", "17.0", "40", "20"],
    ]


def test_drawn_picture_keeps_the_size_and_has_the_boxes(tmp_path):
    given = result("two.png", CAT, image=np.zeros((100, 200, 3), np.uint8))
    write("drawn", tmp_path, given)
    with Image.open(tmp_path / "drawn" / "two.jpg") as picture:
        assert picture.size == (200, 100)
        assert np.asarray(picture).max() > 200
    assert given.image.max() == 0


def test_ground_truth_is_drawn_beside_even_of_an_unknown_class(tmp_path):
    truth = Annotation(Path("two.png"), 40, 20, np.array([[0, 0, 9, 9]], np.float32), ("bird",))
    write("drawn", tmp_path, result("two.png", CAT, truth=truth))
    with Image.open(tmp_path / "drawn" / "two.jpg") as picture:
        assert picture.width > 2 * 40


def test_objects_are_cut_out_by_class(tmp_path):
    write("crops", tmp_path, result("a/one.png", CAT, DOG, ([50, 0, 60, 9], 0.4, 1)))
    assert files_in(tmp_path) == ["crops/cat/a/one-1.jpg", "crops/it's a_dog-2/a/one-2.jpg"]
    with Image.open(tmp_path / "crops" / "cat" / "a" / "one-1.jpg") as picture:
        assert picture.size == (11, 14)
        assert np.allclose(np.asarray(picture), [255, 0, 0], atol=3)


@pytest.mark.parametrize("name", ["pascal_voc", "yolo", "coco"])
def test_labels_are_read_by_prepare(name, photos, tmp_path):
    outside = ([30, 10, 44, 25], 0.3, 1)  # of which the part in the picture counts
    no_area = ([5, 5, 5, 9], 0.3, 1)
    results = (result("a/one.png", CAT, DOG, root=photos), result("two.png", outside, no_area, root=photos))
    write(name, tmp_path / "out", *results)
    inspection = inspect(photos, tmp_path / "out" / name)
    assert (inspection.errors, inspection.warnings) == ((), ())
    one, two = inspection.annotations
    assert (one.names, two.names) == (("cat", "it's a/dog"), ("cat",))
    assert np.allclose(one.boxes, [CAT[0], DOG[0]], atol=0.5 if name == "pascal_voc" else 1e-3)
    assert np.allclose(two.boxes, [[30, 10, 40, 20]], atol=1e-3)


def test_tiny_boxes_of_pascal_voc_have_two_pixels(tmp_path, photos):
    write("pascal_voc", tmp_path / "out", result("two.png", ([39.6, 19.8, 40, 20], 0.9, 1), root=photos))
    inspection = inspect(photos, tmp_path / "out" / "pascal_voc")
    assert inspection.errors == ()
    assert inspection.annotations[0].boxes.tolist() == [[38, 18, 40, 20]]


def test_pascal_voc_has_scores_and_where_the_picture_is(tmp_path):
    write("pascal_voc", tmp_path, result("a/one.png", CAT))
    text = (tmp_path / "pascal_voc" / "a" / "one.xml").read_text()
    assert re.sub(r"\s", "", text) == (
        "<annotation><folder>a</folder><filename>one.png</filename><path>/photos/a/one.png</path>"
        "<size><width>40</width><height>20</height><depth>3</depth></size>"
        "<object><name>cat</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
        "<score>0.9123</score><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>17</ymax></bndbox></object>"
        "</annotation>"
    )


def test_yolo_names_its_classes_wherever_tools_look(tmp_path):
    write("yolo", tmp_path, result("a/one.png", CAT), result("two.png"))
    assert files_in(tmp_path / "yolo") == [
        "classes.txt",
        "data.yaml",
        "labels/a/classes.txt",
        "labels/a/one.txt",
        "labels/classes.txt",
        "labels/two.txt",
    ]
    assert (tmp_path / "yolo" / "labels" / "a" / "one.txt").read_text() == "0 0.181250 0.500000 0.262500 0.700000\n"
    assert (tmp_path / "yolo" / "labels" / "two.txt").read_text() == ""
    assert (tmp_path / "yolo" / "classes.txt").read_text() == "cat\nit's a/dog\n"


def test_coco_is_read_by_pycocotools(tmp_path, capsys):
    write("coco", tmp_path, result("a/one.png", CAT, DOG), result("two.png"))
    assert files_in(tmp_path) == ["coco/instances.json", "coco/results.json"]
    instances = COCO(tmp_path / "coco" / "instances.json")
    found = instances.loadRes(str(tmp_path / "coco" / "results.json"))
    assert {image["file_name"] for image in instances.loadImgs(instances.getImgIds())} == set(NAMES)
    first, second = found.loadAnns(found.getAnnIds())
    assert (first["image_id"], first["category_id"], first["bbox"], first["score"]) == (
        1,
        1,
        [2, 3, 10.5, 14],
        0.912346,
    )
    assert second["bbox"] == [20, 0, 20, 20]


def test_coco_is_recognised_as_it_is(tmp_path, photos):
    write("coco", tmp_path / "out", result("two.png", CAT))
    index = ImageIndex(photos, [photos / "two.png"])
    assert len(annotations.read(tmp_path / "out" / "coco", index).entries) == 1
