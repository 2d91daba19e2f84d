"""Folders that other programs have written, opened as data sets."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from odml.errors import RecordError
from odml.example_parsing import parse_example
from odml.foreign_records import examine_records, find_records
from odml.records import open_dataset, read_annotations, serialize_example, write_records
from odml.structures import Annotation, LabelMap
from tests.foreign_files import LABEL_MAP, example, object_example, picture, sides, write

LABELS = LabelMap.from_pbtxt(LABEL_MAP)
BOX = (0.25, 0.25, 0.75, 0.75)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the API's tools leave it: shards, and a label map of any name."""
    for number in range(2):
        write(tmp_path / f"pet_train.record-0000{number}-of-00002", object_example(source_id=f"{number}.jpg"))
    write(tmp_path / "pet_val.record-00000-of-00001", object_example(source_id="v.jpg", label=2))
    (tmp_path / "pet_label_map.pbtxt").write_text(LABEL_MAP)
    return tmp_path


def message_of(folder: Path) -> str:
    with pytest.raises(RecordError) as raised:
        open_dataset(folder)
    return str(raised.value)


def test_folder_is_a_data_set_without_a_description(folder):
    dataset = open_dataset(folder)
    assert dataset.label_map == LabelMap(("cat", "dog"))
    assert [path.name for path in dataset.train_records] == [
        "pet_train.record-00000-of-00002",
        "pet_train.record-00001-of-00002",
    ]
    assert [path.name for path in dataset.val_records] == ["pet_val.record-00000-of-00001"]
    assert (dataset.train_examples, dataset.val_examples, dataset.test_examples) == (2, 1, 0)
    assert (dataset.name, dataset.test_records) == ("", ())


def test_ground_truth_is_that_of_the_pictures(folder):
    (annotation,) = read_annotations(open_dataset(folder).val_records, LABELS)
    assert (annotation.image, annotation.width, annotation.height) == (Path("v.jpg"), 8, 4)
    assert annotation.boxes.tolist() == [[2, 1, 6, 3]]
    assert annotation.names == ("dog",)


def test_digest_is_of_the_content_not_of_the_files(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write(other / "train.tfrecord", object_example(source_id="1.jpg"), object_example(source_id="0.jpg"))
    write(other / "eval.tfrecord", object_example(source_id="v.jpg", label=2))
    (other / "labels.pbtxt").write_text(LABEL_MAP)
    digest = open_dataset(folder).digest
    assert open_dataset(other).digest == digest
    write(other / "eval.tfrecord", object_example(source_id="v.jpg", label=1))
    assert open_dataset(other).digest != digest


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("train.tfrecord", "val.tfrecord"), {"train": 0, "val": 1}),
        (("coco_train2017.record", "coco_eval2017.record"), {"train": 0, "val": 1}),
        (("training.tfrecords", "test.tfrecords"), {"train": 0, "val": 1}),
        (("train.record", "val.record", "test.record"), {"train": 0, "val": 1, "test": 2}),
        (("train-00000-of-00001", "validation-00000-of-00001"), {"train": 0, "val": 1}),
        (("pets-train.tfrecord-00000-of-00001", "pets-test.tfrecord-00000-of-00001"), {"train": 0, "val": 1}),
        (("train/pets.tfrecord", "valid/pets.tfrecord", "test/pets.tfrecord"), {"train": 0, "val": 1, "test": 2}),
        (("trainval.record",), {"train": 0}),
    ],
)
def test_names_of_files_or_folders_tell_what_they_are_for(tmp_path, names, found):
    paths = [write(tmp_path / name) for name in names]
    expected = {side: (paths[found[side]],) if side in found else () for side in ("train", "val", "test")}
    assert find_records(tmp_path) == expected


def test_files_that_are_no_records_are_passed_over(folder):
    for name in ("notes-train.txt", ".train.record", "train.csv"):
        (folder / name).write_text("text")
    assert open_dataset(folder).train_examples == 2


def test_records_whose_names_tell_nothing_are_left_out_with_a_warning(folder, caplog):
    write(folder / "more.record", object_example())
    with caplog.at_level(logging.WARNING):
        assert open_dataset(folder).train_examples == 2
    assert caplog.messages == [f"{folder}: left out, as no name tells what they are for: more.record"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "{folder}: holds no records; give a folder that prepare has written, or one of TFRecords"),
        (
            ("pets.record",),
            "{folder}: no name tells which records are for training (pets.record, ...); let the names begin with train,"
            " val or test",
        ),
        (
            ("train_val.record",),
            "{folder}/train_val.record: its name says train and val; give it a name with one of them",
        ),
        (
            ("train.record-00001-of-00003",),
            "{folder}/train.record: 2 of 3 shards are missing, first train.record-00000-of-00003; copy them there",
        ),
    ],
)
def test_folder_whose_files_cannot_be_told(tmp_path, names, message):
    (tmp_path / "labels.pbtxt").write_text(LABEL_MAP)
    for name in names:
        write(tmp_path / name, object_example())
    assert message_of(tmp_path) == message.format(folder=tmp_path)


def test_several_label_maps_are_one_if_they_are_the_same(folder):
    (folder / "train").mkdir()
    (folder / "train/labels.pbtxt").write_text(LABEL_MAP)
    assert open_dataset(folder).label_map == LABELS
    (folder / "other.pbtxt").write_text("item { id: 1 name: 'cat' }")
    assert message_of(folder) == (
        f"{folder}: holds several label maps (other.pbtxt, pet_label_map.pbtxt); name the right one labels.pbtxt"
    )


def test_ids_may_have_gaps(folder, caplog):
    (folder / "pet_label_map.pbtxt").write_text("item { id: 1 name: 'cat' } item { id: 4 name: 'dog' }")
    write(folder / "pet_val.record-00000-of-00001", object_example(label=4))
    with caplog.at_level(logging.WARNING):
        dataset = open_dataset(folder)
    assert caplog.messages == [f"{folder}/pet_label_map.pbtxt: no class has the ids 2, 3; they stay unused"]
    (annotation,) = read_annotations(dataset.val_records, dataset.label_map)
    assert annotation.names == ("dog",)
    write(folder / "pet_val.record-00000-of-00001", object_example(label=3))
    assert "has the class '', label 3, which the label map does not have" in message_of(folder)


def parsed_in_a_map(serialized: bytes) -> dict[str, np.ndarray]:
    examples = tf.data.Dataset.from_tensors(serialized).map(lambda each: parse_example(each, LABELS))
    (parsed,) = examples.as_numpy_iterator()
    return parsed


def test_picture_alone_is_background():
    parsed = parsed_in_a_map(example(encoded=picture(width=7, height=5)))
    assert (parsed["width"], parsed["height"], parsed["source_id"]) == (7, 5, b"")
    assert (parsed["boxes"].shape, parsed["classes"].shape) == ((0, 4), (0,))


def test_size_is_the_stated_one_where_it_is_stated():
    parsed = parsed_in_a_map(example(encoded=picture(), width=30, height=20))
    assert (parsed["width"], parsed["height"]) == (30, 20)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP", "GIF"])
def test_size_is_found_in_a_picture_of_any_format(image_format):
    parsed = parsed_in_a_map(example(encoded=picture(width=7, height=5, image_format=image_format)))
    assert (parsed["width"], parsed["height"]) == (7, 5)


@pytest.mark.parametrize(
    ("stated", "classes"),
    [
        ({"label": [2, 1]}, [2, 1]),
        ({"text": [b"dog", b"cat"]}, [2, 1]),
        ({"text": [b"Hound", b"cat"]}, [2, 1]),
        ({"text": [b"dog", b"cat"], "label": [1, 1]}, [2, 1]),
        ({"text": [b"chien", b"chat"], "label": [2, 1]}, [2, 1]),
        ({"text": [b"dog"], "label": [1, 1]}, [2, 1]),
        ({"text": [b"chien", b"cat"]}, [0, 1]),
    ],
)
def test_classes_are_known_by_text_or_else_by_label(stated, classes):
    keys = {f"object__class__{key}": value for key, value in stated.items()}
    parsed = parsed_in_a_map(example(encoded=picture(), **sides(BOX, BOX), **keys))
    assert parsed["classes"].tolist() == classes


@pytest.mark.parametrize(
    ("keys", "crowd"),
    [
        ({}, [False, False]),
        ({"object__is_crowd": [0, 1]}, [False, True]),
        ({"object__group_of": [1, 0]}, [True, False]),
        ({"object__weight": [0.0, 0.5]}, [True, False]),
        ({"object__is_crowd": [1]}, [True, False]),
    ],
)
def test_groups_and_objects_of_no_weight_are_crowds(keys, crowd):
    parsed = parsed_in_a_map(example(encoded=picture(), **sides(BOX, BOX), object__class__label=[1, 1], **keys))
    assert parsed["crowd"].tolist() == crowd


def test_boxes_are_clipped_and_left_out_without_an_area():
    boxes = [(0.5, 0.5, 0.5, 0.75), (-0.05, 0, 0.5, 1.05), (0.75, 0, 0.25, 1)]
    parsed = parsed_in_a_map(
        example(encoded=picture(), **sides(*boxes), object__class__label=[1, 2, 1], object__difficult=[0, 1, 0])
    )
    assert parsed["boxes"].tolist() == [[0, 0, 1, 0.5]]
    assert (parsed["classes"].tolist(), parsed["difficult"].tolist()) == ([2], [True])


def test_what_is_used_otherwise_than_it_may_be_meant_is_told(tmp_path, caplog):
    odd = example(
        encoded=picture(), **sides((0.5, 0.0, 0.5, 1.0), BOX), object__class__label=[1, 1], object__weight=[1.0, 0.5]
    )
    path = write(tmp_path / "train.record", object_example(), odd, odd)
    with caplog.at_level(logging.WARNING):
        examine_records({"train": [path]}, LABELS)
    assert caplog.messages == [
        f"{path}: example 2: boxes without an area, which are left out in 2 examples",
        f"{path}: example 2: weights between 0 and 1, which count as 1 in 2 examples",
    ]


@pytest.mark.parametrize(
    ("serialized", "message"),
    [
        (b"text", "is no tf.train.Example; give records of annotated pictures"),
        (example(source_id=b"a.jpg"), "has no image/encoded; write the pictures into the records"),
        (
            example(encoded=b"x", object__bbox__xmin=[0.5], object__bbox__ymin=[0.5]),
            "its boxes have 1, 1, 0, 0 sides; write it anew",
        ),
        (
            example(encoded=b"x", **sides((12.0, 5.0, 30.0, 9.0)), object__class__label=1),
            "a box is 12, 5, 30, 9 (x, y, x, y); its sides must be shares of the picture's, 0 to 1",
        ),
        (
            example(encoded=b"x", **sides((0.5, float("nan"), 1.0, 1.0)), object__class__label=1),
            "a box is 0.5, nan, 1, 1 (x, y, x, y); its sides must be shares of the picture's, 0 to 1",
        ),
        (
            example(encoded=b"x", **sides(BOX, BOX), object__class__label=1),
            "has 2 boxes, but 1 labels and 0 names of classes; write it anew",
        ),
        (
            example(encoded=b"x", **sides(BOX, BOX), object__class__label=[1, 3], object__class__text=[b"cat", b"cow"]),
            "object 2 has the class 'cow', label 3, which the label map does not have; use the one that the records "
            "were made with",
        ),
        (
            example(encoded=b"x", **sides(BOX), object__class__label=[0.5]),
            "image/object/class/label is a float_list, not a int64_list; write it anew",
        ),
        (example(encoded=[b"x", b"y"]), "image/encoded has 2 values, not one; write it anew"),
    ],
    ids=[
        "text",
        "no picture",
        "half a box",
        "pixels",
        "nan",
        "labels",
        "foreign class",
        "float labels",
        "two pictures",
    ],
)
def test_example_that_cannot_be_used(tmp_path, serialized, message):
    path = write(tmp_path / "train.record", object_example(), serialized)
    with pytest.raises(RecordError) as raised:
        examine_records({"train": [path]}, LABELS)
    assert str(raised.value) == f"{path}: example 2: {message}"


def test_damaged_file(folder):
    path = folder / "pet_train.record-00001-of-00002"
    path.write_bytes(path.read_bytes()[:-5])
    assert message_of(folder) == (
        f"{path}: example 1 cannot be read (truncated record at 0' failed with Read less bytes than requested); copy or"
        " write the file again"
    )


def decode_by_the_apis_keys(serialized: bytes) -> dict[str, object]:
    """Read what the API's decoder needs, with TensorFlow's own parser and its defaults."""
    variable = {
        "object/class/text": tf.string,
        "object/class/label": tf.int64,
        "object/difficult": tf.int64,
        "object/is_crowd": tf.int64,
        **{f"object/bbox/{side}": tf.float32 for side in ("ymin", "xmin", "ymax", "xmax")},
    }
    fixed = {
        "encoded": "",
        "format": "jpeg",
        "filename": "",
        "key/sha256": "",
        "source_id": "",
        "height": 1,
        "width": 1,
    }
    features = {f"image/{key}": tf.io.VarLenFeature(kind) for key, kind in variable.items()}
    for key, default in fixed.items():
        kind = tf.int64 if isinstance(default, int) else tf.string
        features[f"image/{key}"] = tf.io.FixedLenFeature((), kind, default_value=default)
    found = tf.io.parse_single_example(serialized, features)
    return {
        key.removeprefix("image/"): (value.values if isinstance(value, tf.SparseTensor) else value).numpy()
        for key, value in found.items()
    }


def test_decoder_of_the_apis_keys_reads_what_is_written_here(tmp_path):
    annotation = Annotation(
        image=Path("a.jpg"),
        width=8,
        height=4,
        boxes=np.array([[0, 0, 4, 4], [2, 1, 6, 3]], np.float32),
        names=("dog", "cat"),
        difficult=np.array([False, True]),
        crowd=np.array([True, False]),
    )
    written = serialize_example(annotation, LABELS, encoded=picture(), image_format="jpeg", source_id="a.jpg")
    (path,) = write_records([written], tmp_path, "train", count=1, max_file_size=0)
    (serialized,) = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    decoded = decode_by_the_apis_keys(serialized)
    assert tf.io.decode_image(decoded["encoded"], channels=3).shape == (4, 8, 3)
    assert (decoded["format"], decoded["source_id"], decoded["filename"]) == (b"jpeg", b"a.jpg", b"a.jpg")
    assert (decoded["height"], decoded["width"], len(decoded["key/sha256"])) == (4, 8, 64)
    boxes = [decoded[f"object/bbox/{side}"].tolist() for side in ("ymin", "xmin", "ymax", "xmax")]
    assert boxes == [[0, 0.25], [0, 0.25], [1, 0.75], [0.5, 0.75]]
    assert decoded["object/class/text"].tolist() == [b"dog", b"cat"]
    assert decoded["object/class/label"].tolist() == [2, 1]
    assert decoded["object/difficult"].tolist() == [0, 1]
    assert decoded["object/is_crowd"].tolist() == [1, 0]
