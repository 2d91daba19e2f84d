import hashlib
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from odml import preparation
from odml.annotations.list_files import choose_lists
from odml.errors import AnnotationError, ConfigurationError, ImageError, RecordError
from odml.images import encode_upright, read_image
from odml.inspection import inspect
from odml.preparation import by_source_id, class_table, metrics, sample_sheet, usable_annotations, write_dataset
from odml.records import Dataset, parse_example, read_annotations, serialize_example
from odml.structures import Annotation, LabelMap
from tests.coco_yolo_files import write_coco, write_yolo
from tests.voc_files import AnnotatedFolder, voc_object, voc_xml

SPLIT = {"a.png": "train", "b.png": "val", "in/c.jpg": "train"}


@pytest.fixture
def folder(tmp_path: Path) -> AnnotatedFolder:
    """Three pictures: a cat and a dog, background, a dog in a folder of its own."""
    folder = AnnotatedFolder(tmp_path)
    folder.add("a", voc_object("cat", box=(1, 1, 20, 15)), voc_object("dog"))
    folder.add("b")
    folder.add_image("in/c.jpg")
    folder.add_xml("in/c.xml", voc_xml(voc_object("dog", box=(2, 2, 30, 30)), filename="c.jpg"))
    return folder


def sources_of(folder: AnnotatedFolder) -> dict[str, Annotation]:
    return by_source_id(inspect(folder.images, folder.annotations).annotations, folder.images)


def written(folder: AnnotatedFolder, target: Path, *, seed: int = 0, **options: object) -> Dataset:
    return write_dataset(sources_of(folder), SPLIT, target, seed=seed, **options)


def test_a_data_set_is_written(folder: AnnotatedFolder, tmp_path: Path):
    dataset = written(folder, tmp_path / "new" / "records", name="pets")
    assert sorted(path.name for path in dataset.folder.iterdir()) == [
        "dataset.yml",
        "images.sha256",
        "labels.pbtxt",
        "split.json",
        "train-1-2.tfrecord",
        "val-1-1.tfrecord",
    ]
    assert (dataset.folder / "dataset.yml").read_text() == (
        "num_classes: 2\nname: pets\ntrain_examples: 2\ntrain_records: train-*.tfrecord\nval_examples: 1\n"
        f"val_records: val-*.tfrecord\nseed: 0\ndigest: {dataset.digest}\n"
    )
    assert json.loads((dataset.folder / "split.json").read_text()) == SPLIT
    lines = (dataset.folder / "images.sha256").read_text().splitlines()
    files = {name: (folder.images / name).read_bytes() for name in ("a.png", "b.png", "in/c.jpg")}
    assert lines == [f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in files.items()]
    assert dataset.label_map == LabelMap(("cat", "dog"))
    assert len(dataset.digest) == 32


def test_records_hold_what_was_annotated(folder: AnnotatedFolder, tmp_path: Path):
    dataset = written(folder, tmp_path / "records")
    train = {str(each.image): each for each in read_annotations(dataset.train_records, dataset.label_map)}
    assert sorted(train) == ["a.png", "in/c.jpg"]
    np.testing.assert_allclose(train["a.png"].boxes, [[0, 0, 20, 15], [0, 0, 10, 10]], rtol=1e-6)
    assert train["a.png"].names == ("cat", "dog")
    (background,) = read_annotations(dataset.val_records, dataset.label_map)
    assert (str(background.image), background.names) == ("b.png", ())


def test_the_format_in_a_record_is_that_of_its_bytes(folder: AnnotatedFolder, tmp_path: Path):
    dataset = written(folder, tmp_path / "records")
    for data in tf.data.TFRecordDataset(list(map(str, dataset.train_records + dataset.val_records))):
        feature = tf.train.Example.FromString(data.numpy()).features.feature
        encoded = feature["image/encoded"].bytes_list.value[0]
        begins = {b"jpeg": b"\xff\xd8", b"png": b"\x89PNG"}[feature["image/format"].bytes_list.value[0]]
        assert encoded.startswith(begins)


@pytest.mark.parametrize("name", ["grey.gif", "colour.bmp", "clear.png", "ink.jpg", "palette.png"])
def test_any_picture_decodes_in_tensorflow_as_the_rule_shows_it(tmp_path: Path, name: str):
    folder = AnnotatedFolder(tmp_path)
    modes = {"grey.gif": "L", "colour.bmp": "RGB", "clear.png": "RGBA", "ink.jpg": "CMYK", "palette.png": "P"}
    Image.linear_gradient("L").resize((40, 30)).convert(modes[name]).save(folder.images / name)
    folder.add_xml("a.xml", voc_xml(voc_object(), filename=name))
    dataset = write_dataset(sources_of(folder), {name: "train"}, tmp_path / "records", seed=0)
    (data,) = tf.data.TFRecordDataset(str(dataset.train_records[0]))
    decoded = tf.io.decode_image(parse_example(data)["encoded"], channels=3)
    np.testing.assert_allclose(decoded.numpy().astype(int), read_image(folder.images / name), atol=3)


def test_a_turned_picture_and_its_boxes_stay_in_step(tmp_path: Path):
    folder = AnnotatedFolder(tmp_path)
    stored = np.zeros((30, 40, 3), np.uint8)
    stored[2:9, 4:16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(folder.images / "a.png", exif=exif)
    folder.add_xml("a.xml", voc_xml(voc_object(box=(5, 3, 16, 9)), filename="a.png", size=(40, 30)))
    dataset = write_dataset(sources_of(folder), {"a.png": "train"}, tmp_path / "records", seed=0)
    (data,) = tf.data.TFRecordDataset(str(dataset.train_records[0]))
    example = parse_example(data)
    pixels = tf.io.decode_image(example["encoded"]).numpy()
    y1, x1, y2, x2 = np.round(example["boxes"].numpy()[0] * [40, 30, 40, 30]).astype(int)
    assert (pixels[y1:y2, x1:x2] == 255).all()
    assert (pixels == 255).sum() == 3 * (y2 - y1) * (x2 - x1) == 3 * 7 * 12


def test_an_output_prefix_begins_the_records_names(folder: AnnotatedFolder, tmp_path: Path):
    dataset = written(folder, tmp_path / "records", output_prefix="p[1]-")
    assert [path.name for path in dataset.train_records] == ["p[1]-train-1-2.tfrecord"]


def test_a_prefix_that_is_no_file_name_is_an_error(folder: AnnotatedFolder, tmp_path: Path):
    with pytest.raises(ConfigurationError) as error:
        written(folder, tmp_path / "records", output_prefix="a/b")
    assert str(error.value) == "output_prefix: 'a/b' is not the beginning of a file name; leave out any /"


@pytest.mark.parametrize(
    "name",
    ["train-1-5.tfrecord", "val-1-5.tfrecord", "dataset.yml", "labels.pbtxt", "split.json", "images.sha256"],
)
def test_existing_records_are_not_overwritten(folder: AnnotatedFolder, tmp_path: Path, name: str):
    target = tmp_path / "records"
    target.mkdir()
    (target / name).write_text("old")
    with pytest.raises(RecordError) as error:
        written(folder, target)
    assert str(error.value) == (
        f"{target}/{name}: exists and is not overwritten; remove the old records or choose another folder"
    )
    assert [(path.name, path.read_text()) for path in target.iterdir()] == [(name, "old")]


def test_other_files_in_the_folder_stay(folder: AnnotatedFolder, tmp_path: Path):
    target = tmp_path / "records"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    written(folder, target)
    assert (target / "notes.txt").read_text() == "mine"


def test_nothing_is_left_of_a_data_set_that_cannot_be_finished(folder: AnnotatedFolder, tmp_path: Path):
    sources = sources_of(folder)
    (folder.images / "b.png").write_bytes(b"overwritten meanwhile")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ImageError):
        write_dataset(sources, SPLIT, tmp_path / "records", seed=0)
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_is_left_after_ctrl_c(folder: AnnotatedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    sources, before = sources_of(folder), sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(preparation.writing, "write_description", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(sources, SPLIT, tmp_path / "records", seed=0)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_picture_that_changed_its_size_meanwhile_is_an_error(folder: AnnotatedFolder, tmp_path: Path):
    sources = sources_of(folder)
    folder.add_image("b.png", size=(5, 5))
    with pytest.raises(AnnotationError) as error:
        write_dataset(sources, SPLIT, tmp_path / "records", seed=0)
    assert str(error.value) == f"{folder.images}/b.png: has changed since it was inspected; prepare again"


def test_the_digest_does_not_depend_on_place_seed_or_names(folder: AnnotatedFolder, tmp_path: Path):
    digest = written(folder, tmp_path / "first").digest
    moved = tmp_path / "moved"
    moved.mkdir()
    folder.images = folder.images.rename(moved / "images")
    folder.annotations = folder.annotations.rename(moved / "annotations")
    assert written(folder, tmp_path / "again", seed=5, output_prefix="x", name="y").digest == digest


def test_the_digest_depends_on_boxes_pixels_and_split(folder: AnnotatedFolder, tmp_path: Path):
    digests = {written(folder, tmp_path / "first").digest}
    other_split = {**SPLIT, "a.png": "val"}
    digests.add(write_dataset(sources_of(folder), other_split, tmp_path / "split", seed=0).digest)
    folder.add("a", voc_object("cat", box=(1, 1, 20, 16)), voc_object("dog"))
    digests.add(written(folder, tmp_path / "box").digest)
    Image.new("RGB", (40, 30), "red").save(folder.images / "a.png")
    digests.add(written(folder, tmp_path / "pixels").digest)
    assert len(digests) == 4


def test_training_examples_are_shuffled_by_the_seed_alone(tmp_path: Path):
    folder = AnnotatedFolder(tmp_path)
    for number in range(10):
        folder.add(str(number), voc_object())
    split = {f"{number}.png": "train" for number in range(10)}

    def order(name: str, seed: int) -> list[str]:
        dataset = write_dataset(sources_of(folder), split, tmp_path / name, seed=seed)
        return [str(each.image) for each in read_annotations(dataset.train_records, dataset.label_map)]

    first = order("first", 1)
    assert first != sorted(first) == sorted(split)
    assert order("again", 1) == first != order("other", 2)


def test_classes_are_counted_on_either_side(folder: AnnotatedFolder):
    sources = sources_of(folder)
    assert class_table(sources, SPLIT) == [
        {"class": "cat", "train_images": 1, "train_objects": 1, "val_images": 0, "val_objects": 0},
        {"class": "dog", "train_images": 2, "train_objects": 2, "val_images": 0, "val_objects": 0},
    ]
    assert metrics(sources, SPLIT) == {
        "data/train_images": 2,
        "data/val_images": 1,
        "data/background_images": 1,
        "data/objects/cat": 1,
        "data/objects/dog": 2,
    }


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_classes_that_validation_lacks_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = AnnotatedFolder(tmp_path)
    folder.add("cat", voc_object("cat"))
    folder.add("dog", voc_object("dog"))
    sources = sources_of(folder)
    caplog.clear()
    split = preparation.split_sources(sources, val_split=50, seed=0)
    (trained,) = (Path(source_id).stem for source_id, side in split.items() if side == "train")
    assert warnings_of(caplog) == [f"validation has no object of these classes: {trained}"]


def test_nothing_is_told_of_a_validation_that_nobody_asked_for(
    folder: AnnotatedFolder, caplog: pytest.LogCaptureFixture
):
    sources = sources_of(folder)
    caplog.clear()
    split = preparation.split_sources(sources, val_split=0, seed=0)
    assert set(split.values()) == {"train"}
    assert warnings_of(caplog) == []


def test_a_test_gets_records_of_its_own_and_rows_in_the_tables(folder: AnnotatedFolder, tmp_path: Path):
    split = {**SPLIT, "in/c.jpg": "test"}
    dataset = write_dataset(sources_of(folder), split, tmp_path / "records", seed=0)
    records = (*dataset.train_records, *dataset.val_records, *dataset.test_records)
    assert [Path(path).name for path in records] == ["train-1-1.tfrecord", "val-1-1.tfrecord", "test-1-1.tfrecord"]
    assert (dataset.train_examples, dataset.val_examples, dataset.test_examples) == (1, 1, 1)
    sources = sources_of(folder)
    assert class_table(sources, split)[1] == {
        "class": "dog",
        "train_images": 1,
        "train_objects": 1,
        "val_images": 0,
        "val_objects": 0,
        "test_images": 1,
        "test_objects": 1,
    }
    assert metrics(sources, split)["data/test_images"] == 1


def test_old_records_of_a_test_are_not_overwritten(folder: AnnotatedFolder, tmp_path: Path):
    target = tmp_path / "records"
    target.mkdir()
    (target / "test-1-2.tfrecord").touch()
    with pytest.raises(RecordError, match=r"test-1-2.tfrecord: exists and is not overwritten"):
        written(folder, target)


def frames(tmp_path: Path) -> AnnotatedFolder:
    """Two pictures each of four videos."""
    folder = AnnotatedFolder(tmp_path)
    for video in "abcd":
        for number in range(2):
            folder.add(f"{video}_{number}", voc_object())
    return folder


def test_pictures_of_a_group_stay_on_one_side(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    sources = sources_of(frames(tmp_path))
    caplog.clear()
    with caplog.at_level(logging.INFO, "odml.preparation"):
        split = preparation.split_sources(sources, val_split=25, seed=1, group_by="^[a-z]")
    for video in "abcd":
        assert split[f"{video}_0.png"] == split[f"{video}_1.png"]
    assert caplog.messages == [
        "group_by: 8 pictures in 4 groups, 0 without one",
        "split: 6 train, 2 val (drawn with val_split=25, test_split=0, seed=1)",
    ]


def test_an_expression_that_finds_nothing_is_an_error(folder: AnnotatedFolder):
    with pytest.raises(ConfigurationError) as error:
        preparation.split_sources(sources_of(folder), val_split=50, seed=0, group_by="video")
    assert str(error.value) == "group_by: 'video' is in no file name, such as a.png; correct it"


def test_pictures_of_the_same_pixels_stay_on_one_side(tmp_path: Path):
    folder = AnnotatedFolder(tmp_path)
    for number in range(8):
        folder.add(str(number), voc_object())
    for number in (0, 2, 4, 6):
        shutil.copy(folder.images / f"{number}.png", folder.images / f"{number + 1}.png")
    inspection = inspect(folder.images, folder.annotations)
    sources = by_source_id(inspection.annotations, folder.images)
    for seed in range(5):
        split = preparation.split_sources(sources, val_split=50, seed=seed, looks=inspection.looks)
        assert all(split[f"{number}.png"] == split[f"{number + 1}.png"] for number in (0, 2, 4, 6))
        assert sorted(split.values()) == ["train"] * 4 + ["val"] * 4


def test_pictures_that_look_alike_stay_on_one_side(tmp_path: Path):
    folder = AnnotatedFolder(tmp_path)
    for number in range(8):
        folder.add(str(number), voc_object())
        pixels = np.random.default_rng(number // 2).integers(0, 256, (8, 8, 3), np.uint8)
        size = (240, 160) if number % 2 else (40, 30)
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(folder.images / f"{number}.png")
        folder.add_xml(f"{number}.xml", voc_xml(voc_object(), filename=f"{number}.png"))
    inspection = inspect(folder.images, folder.annotations)
    sources = by_source_id(inspection.annotations, folder.images)
    for seed in range(5):
        split = preparation.split_sources(sources, val_split=50, seed=seed, looks=inspection.looks)
        assert all(split[f"{number}.png"] == split[f"{number + 1}.png"] for number in (0, 2, 4, 6))


def test_the_split_that_the_set_brings_is_followed_and_told(folder: AnnotatedFolder, caplog: pytest.LogCaptureFixture):
    main = folder.annotations / "ImageSets" / "Main"
    main.mkdir(parents=True)
    (main / "train.txt").write_text("a")
    (main / "val.txt").write_text("b")
    inspection = inspect(folder.images, folder.annotations)
    sources = by_source_id(inspection.annotations, folder.images)
    caplog.clear()
    with caplog.at_level(logging.INFO, "odml.preparation"):
        assert preparation.ready_split(sources, inspection) == {"a.png": "train", "b.png": "val"}
    assert caplog.messages == [
        "split: 1 train, 1 val (as it is in annotations/ImageSets/Main (train.txt for train, val.txt for val); "
        "val_split, test_split and group_by do not count)",
        "1 of 3 pictures are on no side of it, first: in/c.jpg; they are left out",
        "validation has no object of these classes: cat, dog",
    ]


def test_a_ready_split_with_nothing_to_train_on_is_an_error(folder: AnnotatedFolder):
    inspection = replace(inspect(folder.images, folder.annotations), split_origin="lists")
    with pytest.raises(AnnotationError) as error:
        preparation.ready_split(by_source_id(inspection.annotations, folder.images), inspection)
    assert str(error.value) == "lists: no usable picture is for training; correct the split"


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": "{}/a.txt"}, "val_list: is missing; give train_list and val_list, or none of the lists"),
        ({"test": "{}/a.txt"}, "train_list: is missing; give train_list and val_list, or none of the lists"),
        (
            {"train": "{}/a.txt", "val": "{}/no.txt"},
            "val_list: there is no file {}/no.txt; give one with a picture a line",
        ),
    ],
)
def test_lists_that_do_not_go_together_are_an_error(tmp_path: Path, lists: dict[str, str], message: str):
    (tmp_path / "a.txt").touch()
    given = {f"{side}_list": lists.get(side, "").format(tmp_path) for side in ("train", "val", "test")}
    with pytest.raises(ConfigurationError) as error:
        choose_lists(**given)
    assert str(error.value) == message.format(tmp_path)


def test_shares_of_more_than_all_pictures_are_an_error():
    with pytest.raises(ConfigurationError) as error:
        preparation.require_split(val_split=80, test_split=30, group_by="")
    assert str(error.value) == ("val_split and test_split: 80 and 30 are more than 100 percent together; lower one")


def serialized(sources: dict[str, Annotation]) -> list[bytes]:
    label_map = LabelMap.of(name for each in sources.values() for name in each.names)
    examples = []
    for source_id, each in sources.items():
        encoded, image_format, _, _ = encode_upright(each.image)
        examples.append(
            serialize_example(each, label_map, encoded=encoded, image_format=image_format, source_id=source_id)
        )
    return examples


@pytest.mark.parametrize("write", [write_coco, write_yolo])
def test_examples_are_the_same_byte_for_byte_whatever_the_format(folder: AnnotatedFolder, tmp_path: Path, write):
    sources = sources_of(folder)
    other = tmp_path / "other"
    other.mkdir()
    write(other / "set.json" if write is write_coco else other, list(sources.values()), images=folder.images)
    found = by_source_id(inspect(folder.images, other).annotations, folder.images)
    assert serialized(found) == serialized(sources)


@pytest.mark.parametrize("write", [write_coco, write_yolo])
def test_examples_of_real_pictures_are_the_same_whatever_the_format(shared: Path, tmp_path: Path, write):
    data = shared / "data" / "raccoon"
    images, annotations = tmp_path / "images", tmp_path / "annotations"
    for folder, suffix in ((images, "jpg"), (annotations, "xml")):
        folder.mkdir()
        for number in range(1, 21):
            shutil.copy(data / folder.name / f"raccoon-{number}.{suffix}", folder)
    # Neither COCO nor YOLO can say that an object is truncated.
    voc = [replace(each, truncated=None) for each in inspect(images, annotations).annotations]
    other = tmp_path / "other"
    other.mkdir()
    write(other / "set.json" if write is write_coco else other, voc, images=images)
    found = by_source_id(inspect(images, other).annotations, images)
    assert serialized(found) == serialized(by_source_id(voc, images))


def test_samples_are_drawn_on_one_sheet(folder: AnnotatedFolder):
    sheet = sample_sheet(sources_of(folder), LabelMap(("cat", "dog")), seed=0)
    assert sheet.mode == "RGB"


def test_errors_are_left_out_and_counted_when_skipping(folder: AnnotatedFolder, caplog: pytest.LogCaptureFixture):
    folder.add("d", voc_object(box=(9, 1, 3, 5)), voc_object())
    folder.add_xml("e.xml", voc_xml(voc_object()))
    inspection = inspect(folder.images, folder.annotations)
    caplog.clear()
    assert len(usable_annotations(inspection, on_error="skip")) == 4
    assert caplog.messages == [
        "left out pictures: 1, single objects: 1 (2 errors in 2 files, first: annotations/d.xml: object 1: "
        "xmax 3 is not greater than xmin 9; remove or fix the box)"
    ]
    with pytest.raises(AnnotationError, match=r"2 errors in 2 files"):
        usable_annotations(inspection, on_error="fail")


def test_a_set_without_any_object_is_an_error(tmp_path: Path):
    folder = AnnotatedFolder(tmp_path)
    folder.add("a")
    with pytest.raises(AnnotationError) as error:
        usable_annotations(inspect(folder.images, folder.annotations), on_error="skip")
    assert str(error.value) == (
        "annotations: no usable object in 1 usable pictures; there is nothing to learn from: annotate some objects"
    )
