import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from odml.errors import RecordError
from odml.example_parsing import parse_example
from odml.records import (
    Dataset,
    is_needed,
    open_dataset,
    read_annotations,
    serialize_example,
    write_description,
    write_records,
)
from odml.structures import Annotation, LabelMap

LABELS = LabelMap(("cat", "hot dog"))
ANNOTATION = Annotation(
    image=Path("a/b.jpg"),
    width=10,
    height=20,
    boxes=np.array([[0, 0, 5, 10], [1, 2, 3, 4]], np.float32),
    names=("hot dog", "cat"),
    difficult=np.array([False, True]),
    truncated=np.array([True, False]),
    poses=("Left", "Unspecified"),
)
BACKGROUND = Annotation(image=Path("c.png"), width=10, height=20)


def serialized(annotation: Annotation = ANNOTATION) -> bytes:
    source_id = annotation.image.as_posix()
    return serialize_example(annotation, LABELS, encoded=b"pixels", image_format="jpeg", source_id=source_id)


def features(data: bytes) -> dict[str, list[object]]:
    """Read an example the plain way, key by key."""
    example = tf.train.Example.FromString(data)
    kinds = {key: feature.WhichOneof("kind") for key, feature in example.features.feature.items()}
    return {key: list(getattr(example.features.feature[key], kind).value) for key, kind in kinds.items()}


def test_an_example_has_the_object_detection_apis_keys():
    written = features(serialized())
    boxes = {key: written.pop(f"image/object/bbox/{key}") for key in ("xmin", "xmax", "ymin", "ymax")}
    assert written == {
        "image/height": [20],
        "image/width": [10],
        "image/filename": [b"a/b.jpg"],
        "image/source_id": [b"a/b.jpg"],
        "image/key/sha256": [hashlib.sha256(b"pixels").hexdigest().encode()],
        "image/encoded": [b"pixels"],
        "image/format": [b"jpeg"],
        "image/object/class/text": [b"hot dog", b"cat"],
        "image/object/class/label": [2, 1],
        "image/object/difficult": [0, 1],
        "image/object/truncated": [1, 0],
        "image/object/view": [b"Left", b"Unspecified"],
    }
    assert boxes["xmin"] == pytest.approx([0, 0.1])
    assert boxes["xmax"] == pytest.approx([0.5, 0.3])
    assert boxes["ymin"] == pytest.approx([0, 0.1])
    assert boxes["ymax"] == pytest.approx([0.5, 0.2])


def parsed_in_a_map(data: bytes) -> dict[str, tf.Tensor]:
    return next(iter(tf.data.Dataset.from_tensors(data).map(parse_example)))


@pytest.mark.parametrize("parse", [parse_example, parsed_in_a_map])
def test_an_example_is_parsed_eagerly_and_in_a_map(parse):
    example = parse(serialized())
    assert example["encoded"].numpy() == b"pixels"
    assert example["source_id"].numpy() == example["filename"].numpy() == b"a/b.jpg"
    assert (example["height"].numpy(), example["width"].numpy()) == (20, 10)
    np.testing.assert_allclose(example["boxes"], [[0, 0, 0.5, 0.5], [0.1, 0.1, 0.2, 0.3]], rtol=1e-6)
    assert example["classes"].numpy().tolist() == [2, 1]
    assert example["difficult"].numpy().tolist() == [False, True]
    assert {name: tensor.dtype for name, tensor in example.items()} == {
        "encoded": tf.string,
        "filename": tf.string,
        "source_id": tf.string,
        "height": tf.int32,
        "width": tf.int32,
        "boxes": tf.float32,
        "classes": tf.int32,
        "difficult": tf.bool,
        "crowd": tf.bool,
    }


@pytest.mark.parametrize("parse", [parse_example, parsed_in_a_map])
def test_a_background_picture_has_no_boxes(parse):
    example = parse(serialized(BACKGROUND))
    assert example["boxes"].shape == (0, 4)
    assert example["classes"].shape == example["difficult"].shape == (0,)


def test_a_crowd_is_told_by_the_key_of_the_object_detection_api():
    example = tf.train.Example.FromString(serialized(replace(ANNOTATION, crowd=np.array([False, True]))))
    assert list(example.features.feature["image/object/is_crowd"].int64_list.value) == [0, 1]
    assert parse_example(example.SerializeToString())["crowd"].numpy().tolist() == [False, True]


def test_the_key_of_crowds_is_only_there_if_a_picture_has_one():
    example = tf.train.Example.FromString(serialized())
    assert "image/object/is_crowd" not in example.features.feature
    assert parse_example(example.SerializeToString())["crowd"].numpy().tolist() == [False, False]


def test_an_example_of_another_program_may_lack_optional_keys():
    example = tf.train.Example.FromString(serialized())
    for key in ("filename", "source_id", "key/sha256", "format", "object/difficult", "object/truncated", "object/view"):
        del example.features.feature[f"image/{key}"]
    parsed = parse_example(tf.constant(example.SerializeToString()))
    assert parsed["difficult"].numpy().tolist() == [False, False]
    assert parsed["source_id"].numpy() == b""


@pytest.mark.parametrize("count", [2, 12])
def test_files_are_numbered_from_one_to_the_width_of_the_count(tmp_path: Path, count: int):
    write_records([b"x"] * count, tmp_path, "train", count=count, max_file_size=0)
    expected = {2: "train-1-2.tfrecord", 12: "train-01-12.tfrecord"}[count]
    assert [path.name for path in tmp_path.iterdir()] == [expected]


def test_a_file_ends_before_it_exceeds_its_size(tmp_path: Path):
    big = b"x" * (400 * 1024)
    paths = write_records([big] * 5, tmp_path, "val", count=5, max_file_size=1)
    assert [path.name for path in paths] == ["val-1-2.tfrecord", "val-3-4.tfrecord", "val-5-5.tfrecord"]
    assert all(path.stat().st_size <= 1024 * 1024 for path in paths)
    assert [data.numpy() for data in tf.data.TFRecordDataset(list(map(str, paths)))] == [big] * 5


def test_an_example_above_the_size_has_a_file_of_its_own(tmp_path: Path):
    paths = write_records([b"x", b"x" * (2 * 1024 * 1024), b"x"], tmp_path, "val", count=3, max_file_size=1)
    assert [path.name for path in paths] == ["val-1-1.tfrecord", "val-2-2.tfrecord", "val-3-3.tfrecord"]


def test_no_examples_give_no_file(tmp_path: Path):
    assert write_records([], tmp_path, "val", count=0, max_file_size=100) == ()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_finished_before_the_later_examples_are_made(tmp_path: Path):
    there: list[list[str]] = []

    def examples():
        for _ in range(4):
            there.append(sorted(path.name for path in tmp_path.glob("*.tfrecord")))
            yield b"x" * (400 * 1024)

    write_records(examples(), tmp_path, "val", count=4, max_file_size=1)
    assert there == [[], ["val-1-4.tfrecord"], ["val-1-4.tfrecord"], ["val-1-2.tfrecord", "val-3-4.tfrecord"]]


DESCRIPTION = {
    "train_examples": 1,
    "train_records": "train-*.tfrecord",
    "val_examples": 1,
    "val_records": "val-*.tfrecord",
    "digest": "0123",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_records([serialized()], tmp_path, "train", count=1, max_file_size=0)
    write_records([serialized(BACKGROUND)], tmp_path, "val", count=1, max_file_size=0)
    write_description(tmp_path, LABELS, {"name": "pets", **DESCRIPTION})
    return tmp_path


def test_a_folder_of_records_is_opened(folder: Path):
    assert open_dataset(folder) == Dataset(
        folder=folder,
        label_map=LABELS,
        train_records=(folder / "train-1-1.tfrecord",),
        val_records=(folder / "val-1-1.tfrecord",),
        train_examples=1,
        val_examples=1,
        digest="0123",
        name="pets",
    )


def test_a_folder_with_a_test_tells_its_records(folder: Path):
    (path,) = write_records([serialized(BACKGROUND)], folder, "test", count=1, max_file_size=0)
    description = {**DESCRIPTION, "test_examples": 1, "test_records": "test-*.tfrecord"}
    write_description(folder, LABELS, description)
    dataset = open_dataset(folder)
    assert (dataset.test_examples, dataset.test_records) == (1, (path,))


def test_only_the_records_of_the_sides_that_are_asked_for_have_to_be_there(folder: Path):
    (folder / "train-1-1.tfrecord").unlink()
    dataset = open_dataset(folder, sides=("val",))
    assert (dataset.train_records, dataset.train_examples) == ((), 1)
    assert dataset.val_records == (folder / "val-1-1.tfrecord",)
    with pytest.raises(RecordError, match="no file fits train_records"):
        open_dataset(folder)


def test_all_records_are_read_for_what_the_description_does_not_tell(folder: Path):
    write_description(folder, LABELS, {name: value for name, value in DESCRIPTION.items() if name != "digest"})
    dataset = open_dataset(folder, sides=("val",))
    assert dataset.digest == open_dataset(folder).digest
    assert dataset.train_records


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("dataset.yml", {"train", "val", "test"}),
        ("val-0001-1000.tfrecord", {"val"}),
        ("train-set-test-1-9.tfrecord", {"test"}),
        ("train.txt", {"train", "val", "test"}),
    ],
)
def test_who_reads_one_side_needs_all_but_the_records_of_the_others(name: str, sides: set[str]):
    assert {side for side in ("train", "val", "test") if is_needed(name, side=side)} == sides


def test_annotations_come_back_from_records(folder: Path):
    dataset = open_dataset(folder)
    (annotation,) = read_annotations(dataset.train_records, LABELS)
    assert (annotation.image, annotation.width, annotation.height) == (Path("a/b.jpg"), 10, 20)
    np.testing.assert_allclose(annotation.boxes, ANNOTATION.boxes, rtol=1e-6)
    assert annotation.names == ("hot dog", "cat")
    assert annotation.difficult.tolist() == [False, True]
    (background,) = read_annotations(dataset.val_records, LABELS)
    assert background.names == ()


def test_a_class_that_the_label_map_lacks_is_an_error(folder: Path):
    with pytest.raises(RecordError) as error:
        list(read_annotations(open_dataset(folder).train_records, LabelMap(("cat",))))
    assert str(error.value) == (
        f"{folder}/train-1-1.tfrecord: example 1: class id 2 is not in the label map, which has 1 to 1; "
        "use the one that the records were made with"
    )


def test_a_damaged_record_is_an_error(folder: Path):
    path = folder / "train-1-1.tfrecord"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(
        RecordError, match=r"train-1-1.tfrecord: example 1 cannot be read \(.*\); copy or write the file again$"
    ):
        list(read_annotations([path], LABELS))


def test_a_missing_label_map_is_an_error(folder: Path):
    (folder / "labels.pbtxt").unlink()
    with pytest.raises(RecordError) as error:
        open_dataset(folder)
    assert str(error.value) == (
        f"{folder}: holds no label map (*.pbtxt); put the one there that the records were made with, or give a folder "
        "that prepare has written"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"num_classes": 3},
            "num_classes is 3, but the label map has 2; prepare the records again or correct the wrong one",
        ),
        ({"train_examples": "many"}, "train_examples is 'many'; it must be a number of 0 or more"),
        ({"val_examples": True}, "val_examples is True; it must be a number of 0 or more"),
        ({"val_records": None}, "val_records is None; it must be a pattern such as val-*.tfrecord"),
        (
            {"train_records": "/etc/*"},
            "train_records is '/etc/*'; it must be a pattern such as train-*.tfrecord",
        ),
        (
            {"train_records": "old-*.tfrecord"},
            "no file fits train_records 'old-*.tfrecord'; copy the records beside dataset.yml",
        ),
    ],
)
def test_a_wrong_description_is_an_error(folder: Path, change: dict[str, object], message: str):
    write_description(folder, LABELS, {**DESCRIPTION, **change})
    with pytest.raises(RecordError) as error:
        open_dataset(folder)
    assert str(error.value) == f"{folder}/dataset.yml: {message}"


def test_a_description_that_is_no_yaml_is_an_error(folder: Path):
    (folder / "dataset.yml").write_text("num_classes: [1")
    with pytest.raises(RecordError, match=r"dataset.yml: is no YAML \(.*\); prepare the records again$"):
        open_dataset(folder)


def test_an_empty_description_is_an_error(folder: Path):
    (folder / "dataset.yml").write_text("")
    with pytest.raises(RecordError) as error:
        open_dataset(folder)
    assert str(error.value) == f"{folder}/dataset.yml: is no mapping of keys to values; prepare the records again"


def test_a_damaged_label_map_names_its_file(folder: Path):
    (folder / "labels.pbtxt").write_text("")
    with pytest.raises(RecordError) as error:
        open_dataset(folder)
    assert (
        str(error.value)
        == f"{folder}/labels.pbtxt: label map: has no item; give the one that the records were made with"
    )


def test_what_a_description_of_another_program_does_not_tell_is_found(folder: Path):
    write_description(folder, LABELS, {"name": "pets"})
    dataset = open_dataset(folder)
    assert (dataset.train_records, dataset.train_examples) == ((folder / "train-1-1.tfrecord",), 1)
    assert (dataset.val_records, dataset.val_examples) == ((folder / "val-1-1.tfrecord",), 1)
    assert (dataset.name, len(dataset.digest)) == ("pets", 32)


def test_a_description_that_counts_otherwise_is_an_error(folder: Path):
    write_description(folder, LABELS, {"train_examples": 2})
    with pytest.raises(RecordError) as error:
        open_dataset(folder)
    assert str(error.value) == f"{folder}/dataset.yml: train_examples is 2, but its records hold 1; correct it"
