"""Which format a folder has, and that the same annotations mean the same in each."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from odml import annotations as formats
from odml.errors import AnnotationError
from odml.image_index import ImageIndex
from odml.inspection import inspect
from odml.structures import Annotation
from tests.coco_yolo_files import coco, write_coco, write_yolo
from tests.voc_files import AnnotatedFolder, voc_object

VOC = {"a.xml": '<?xml version="1.0"?>\n<annotation verified="yes"></annotation>'}
COCO = {"a.json": json.dumps(coco())}
YOLO = {"a.txt": "0 .5 .5 .1 .1\n", "data.yaml": "names: [cat]\n"}
OTHERS = {"notes.txt": "3 of them", "b.xml": "<svg/>", "split.json": "{}", "c.txt": "", "classes.txt": "0 1 2 3 4"}


def recognised(folder: Path, files: dict[str, str], caplog: pytest.LogCaptureFixture) -> str:
    for name, text in files.items():
        (folder / name).write_text(text)
    with caplog.at_level(logging.INFO, "odml.annotations"):
        formats.read(folder, ImageIndex(folder, []))
    (message,) = caplog.messages
    return message


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (VOC, "annotations: Pascal VOC (format=pascal_voc): 2 XML files, first set/a.xml"),
        (COCO, "annotations: COCO (format=coco): 1 JSON file with COCO's keys, first set/a.json"),
        (YOLO, "annotations: YOLO (format=yolo): 3 txt files, first of labels set/a.txt, names in set/data.yaml"),
    ],
    ids=["pascal_voc", "coco", "yolo"],
)
def test_the_format_is_recognised_among_other_files_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, files: dict[str, str], message: str
):
    folder = tmp_path / "set"
    folder.mkdir()
    assert recognised(folder, OTHERS | files, caplog) == message


def test_a_folder_with_none_is_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with pytest.raises(AnnotationError) as error:
        recognised(tmp_path, OTHERS, caplog)
    assert str(error.value) == (
        f"{tmp_path}: holds no annotations that odml knows (Pascal VOC XML, COCO JSON or YOLO txt files); "
        "give their folder, or say what they are with format="
    )


def test_a_folder_with_two_is_an_error_and_one_can_be_chosen(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = tmp_path / "set"
    folder.mkdir()
    with pytest.raises(AnnotationError) as error:
        recognised(folder, VOC | COCO, caplog)
    assert str(error.value) == (
        f"{folder}: holds annotations of several formats: Pascal VOC (1 XML file, first set/a.xml); COCO (1 JSON file "
        "with COCO's keys, first set/a.json); choose with format=pascal_voc or format=coco"
    )
    (entry,) = formats.read(folder, ImageIndex(folder, []), annotation_format="coco").entries
    assert entry.where == "set/a.json"


@pytest.fixture
def folder(tmp_path: Path) -> AnnotatedFolder:
    folder = AnnotatedFolder(tmp_path)
    folder.add("a", voc_object("cat", box=(1, 1, 13, 30)), voc_object("dog", box=(30, 4, 40, 17)))
    folder.add("b")
    return folder


def content(annotation: Annotation) -> dict[str, object]:
    fields = vars(annotation)
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()}


@pytest.mark.parametrize("write", [write_coco, write_yolo])
def test_the_same_annotations_are_the_same_in_each_format(folder: AnnotatedFolder, tmp_path: Path, write):
    expected = inspect(folder.images, folder.annotations).annotations
    other = tmp_path / "other"
    other.mkdir()
    write(other / "set.json" if write is write_coco else other, expected, images=folder.images)
    found = inspect(folder.images, other)
    assert found.problems == ()
    assert list(map(content, found.annotations)) == list(map(content, expected))


def test_relative_boxes_belong_to_the_picture_that_a_viewer_shows(folder: AnnotatedFolder, tmp_path: Path):
    folder.add_image("c.jpg", size=(80, 20), orientation=6)
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "classes.txt").write_text("cat")
    (labels / "c.txt").write_text("0 0.5 0.125 1 0.25")
    (annotation,) = (each for each in inspect(folder.images, labels).annotations if each.names)
    assert (annotation.width, annotation.height) == (20, 80)
    np.testing.assert_array_equal(annotation.boxes, [[0, 0, 20, 20]])


def test_a_side_between_two_pixels_stays_there(folder: AnnotatedFolder, tmp_path: Path):
    expected = inspect(folder.images, folder.annotations).annotations
    moved = [replace(each, boxes=np.maximum(each.boxes - np.float32(0.25), 0)) for each in expected]
    write_yolo(tmp_path / "labels", moved, images=folder.images)
    found = inspect(folder.images, tmp_path / "labels").annotations
    np.testing.assert_allclose(found[0].boxes, moved[0].boxes, atol=1e-4)


def test_a_yolo_box_outside_the_picture_is_an_error_of_its_line(folder: AnnotatedFolder, tmp_path: Path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/classes.txt").write_text("cat")
    (tmp_path / "labels/a.txt").write_text("0 .5 .5 .5 .5\n0 0.95 0.5 0.4 0.5\n")
    found = inspect(folder.images, tmp_path / "labels")
    assert [str(each) for each in found.errors] == [
        "labels/a.txt: object 2: reaches outside the picture of 40x30 pixels (right 1.15); correct or remove the box"
    ]


def test_a_crowd_stays_a_crowd_in_the_annotation(folder: AnnotatedFolder, tmp_path: Path):
    boxes = inspect(folder.images, folder.annotations).annotations
    write_coco(tmp_path / "set.json", boxes, images=folder.images)
    data = json.loads((tmp_path / "set.json").read_text())
    data["annotations"][1]["iscrowd"] = 1
    (tmp_path / "set.json").write_text(json.dumps(data))
    annotation, _ = inspect(folder.images, tmp_path / "set.json").annotations
    assert annotation.crowd.tolist() == [False, True]


def test_lists_win_over_the_split_of_the_set(folder: AnnotatedFolder, tmp_path: Path):
    main = tmp_path / "ImageSets" / "Main"
    main.mkdir(parents=True)
    for part, name in (("train", "a"), ("val", "b")):
        (main / f"{part}.txt").write_text(name)
    found = inspect(folder.images, folder.annotations)
    assert found.sides == {folder.images / "a.png": "train", folder.images / "b.png": "val"}
    lists = {"train": main / "val.txt", "val": main / "train.txt"}
    found = inspect(folder.images, folder.annotations, lists=lists)
    assert found.sides == {folder.images / "a.png": "val", folder.images / "b.png": "train"}
    assert found.split_origin == f"{main}/val.txt for train, {main}/train.txt for val"
