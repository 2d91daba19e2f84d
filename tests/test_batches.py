from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from odml import batches as batches_module
from odml.batches import (
    batch_sources,
    evaluation_batches,
    naming_damage,
    read_images,
    read_images_at,
    training_batches,
)
from odml.config import Augmentation
from odml.errors import RecordError
from odml.images import read_image
from odml.records import Dataset, open_dataset, serialize_example, write_records
from odml.structures import Annotation
from tests import tiny

NOTHING = Augmentation(horizontal_flip=False, random_crop=False, random_color=False, mosaic=0.0)
EVERYTHING = Augmentation(horizontal_flip=True, random_crop=True, random_color=True, mosaic=0.5)
EXAMPLES = 5


def resize(image: tf.Tensor) -> tf.Tensor:
    image = tf.image.resize(image, (30, 40))
    image.set_shape([30, 40, 3])
    return image


def example(number: int) -> bytes:
    """Make a picture with as many objects as its number; each example has a width of its own."""
    objects = [("red", (8 * each, 0, 8 * each + 8, 20)) for each in range(number)]
    return tiny.serialize(objects, source_id=f"{number}.png", width=80 + number, height=60)


def halve(image: tf.Tensor) -> tf.Tensor:
    """Keep the aspect, as two-stage detectors do: sizes differ."""
    return tf.image.resize(image, tf.shape(image)[:2] // 2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    examples = [example(number) for number in range(EXAMPLES)]
    return tiny.write_dataset(tmp_path_factory.mktemp("batches") / "dataset", train=examples, val=examples)


def training(dataset, *, batch_size=2, augment=NOTHING, seed=1):
    return training_batches(dataset, batch_size=batch_size, resize=resize, augment=augment, seed=seed)


def counts(batches, taken):
    """Give the number of objects of each picture: with these data, which picture it is."""
    return [int(count) for batch in batches.take(taken) for count in np.count_nonzero(batch["classes"], axis=1)]


def test_training_batch_has_equal_images_and_padded_ground_truth(dataset):
    batch = next(iter(training(dataset, batch_size=5)))
    assert {name: (value.dtype, *value.shape) for name, value in batch.items()} == {
        "images": (tf.float32, 5, 30, 40, 3),
        "sizes": (tf.int32, 5, 2),
        "numbers": (tf.int64, 5),
        "boxes": (tf.float32, 5, 4, 4),
        "classes": (tf.int32, 5, 4),
    }
    row = np.count_nonzero(batch["classes"], axis=1).tolist().index(2)
    assert batch["classes"][row].numpy().tolist() == [2, 2, 0, 0]
    assert batch["boxes"][row].numpy() == pytest.approx(
        np.array([[0, 0, 1 / 3, 8 / 82], [0, 8 / 82, 1 / 3, 16 / 82], [0] * 4, [0] * 4])
    )


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Pictures of several sizes with an object in the middle of each."""
    examples = [
        tiny.serialize([("red", (width // 4, height // 4, width // 2, height // 2))], width=width, height=height)
        for width, height in ((80, 60), (60, 100), (120, 40))
    ]
    return tiny.write_dataset(tmp_path_factory.mktemp("mixed") / "dataset", train=examples, val=examples)


def test_images_of_several_sizes_are_padded_at_the_bottom_and_on_the_right(mixed):
    batches = training_batches(mixed, batch_size=3, resize=halve, augment=NOTHING, seed=1)
    (batch,) = batches.take(1)
    assert batch["images"].shape == (3, 50, 60, 3)
    assert sorted(batch["sizes"].numpy().tolist()) == [[20, 60], [30, 40], [50, 30]]
    for image, (height, width), boxes in zip(batch["images"], batch["sizes"], batch["boxes"], strict=True):
        assert np.all(image[:height, :width] > 0)
        assert not np.any(image[height:])
        assert not np.any(image[:, width:])
        assert boxes.numpy() == pytest.approx(np.array([[0.25, 0.25, 0.5, 0.5]]))


@pytest.mark.parametrize("resize", [resize, halve], ids=["one size", "several sizes"])
def test_sizes_are_those_of_the_augmented_images(mixed, resize):
    batches = training_batches(mixed, batch_size=3, resize=resize, augment=EVERYTHING, seed=1)
    for batch in batches.take(4):
        assert batch["images"].shape[1:3] == tuple(np.max(batch["sizes"], axis=0))
        if resize is halve:
            assert len(set(map(tuple, batch["sizes"].numpy().tolist()))) > 1


def test_every_epoch_shows_each_example_once_in_an_order_of_its_own(dataset):
    seen = counts(training(dataset, batch_size=1), 4 * EXAMPLES)
    epochs = [tuple(seen[start : start + EXAMPLES]) for start in range(0, len(seen), EXAMPLES)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(EXAMPLES))] * 4
    assert len(set(epochs)) > 1


def test_batches_go_on_over_the_end_of_an_epoch(dataset):
    assert sorted(counts(training(dataset, batch_size=2), 5)) == sorted([*range(EXAMPLES)] * 2)


def test_batch_may_be_larger_than_the_data_set(dataset):
    assert len(counts(training(dataset, batch_size=12), 1)) == 12


@pytest.mark.parametrize("augment", [NOTHING, EVERYTHING], ids=["plain", "augmented"])
def test_same_seed_makes_the_same_batches(dataset, augment):
    first, second = (training(dataset, augment=augment, seed=9).take(4) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        for name in one:
            assert np.array_equal(one[name], other[name]), name


@pytest.mark.parametrize("start", [1, 2, 7])
def test_batches_can_begin_where_others_ended(mixed, start):
    def batches(**options):
        return training_batches(mixed, batch_size=2, resize=resize, augment=EVERYTHING, seed=4, **options)

    whole = list(batches().take(start + 4).as_numpy_iterator())
    for mine, theirs in zip(batches(start=start).take(4).as_numpy_iterator(), whole[start:], strict=True):
        assert set(mine) == set(theirs)
        for key in mine:
            assert np.array_equal(mine[key], theirs[key]), key
    assert [each["numbers"].tolist() for each in whole] == [[2 * n, 2 * n + 1] for n in range(start + 4)]


@pytest.mark.parametrize("start", [0, 2])
def test_parts_of_two_workers_with_two_replicas_each_are_the_whole_batch(mixed, start):
    options = {"batch_size": 8, "resize": resize, "augment": EVERYTHING, "seed": 4, "start": start}
    whole = list(training_batches(mixed, **options).take(3).as_numpy_iterator())
    contexts = [tf.distribute.InputContext(2, worker, num_replicas_in_sync=4) for worker in range(2)]
    workers = [list(training_batches(mixed, each, **options).take(6).as_numpy_iterator()) for each in contexts]
    for step, batch in enumerate(whole):
        parts = [part for worker in workers for part in worker[2 * step : 2 * step + 2]]
        assert [len(part["images"]) for part in parts] == [2] * 4
        numbers = np.concatenate([part["numbers"] for part in parts])
        order = np.argsort(numbers)
        for key in ("numbers", "images", "sizes"):
            assert np.array_equal(np.concatenate([part[key] for part in parts])[order], batch[key]), key


def test_batches_have_no_end_and_say_so(dataset):
    assert training(dataset).cardinality() == tf.data.INFINITE_CARDINALITY


def in_files(folder: Path, *lengths: int) -> Dataset:
    """Write files of so many examples; the examples of file 2 are 2-0.png, 2-1.png, and so on."""
    dataset = tiny.write_dataset(folder, train=[tiny.serialize([])])
    dataset.train_records[0].unlink()
    for number, length in enumerate(lengths):
        examples = [tiny.serialize([], source_id=f"{number}-{place}.png", width=8, height=8) for place in range(length)]
        write_records(examples, folder, f"train-{number}", count=length, max_file_size=0)
    return replace(open_dataset(folder), train_examples=sum(lengths))


def sources_of(dataset: Dataset, *, count: int, start: int = 0) -> list[str]:
    return [
        name
        for number in range(start, start + count)
        for name in batch_sources(dataset, batch_size=1, seed=3, number=number)
    ]


def test_files_are_read_by_turns_in_an_order_of_the_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(batches_module, "_SHUFFLE_BYTES", 1)  # a buffer of one example leaves the order of reading
    dataset = in_files(tmp_path / "dataset", 2, 1, 2)
    epochs = [sources_of(dataset, count=5, start=5 * epoch) for epoch in range(6)]
    orders = {tuple(int(name[0]) for name in epoch[:3]) for epoch in epochs}
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    assert len(orders) > 1
    for epoch in epochs:
        assert [name[1:] for name in epoch] == ["-0.png"] * 3 + ["-1.png"] * 2
        assert [name[0] for name in epoch[3:]] == [name[0] for name in epoch[:3] if name[0] != "1"]


def test_one_file_is_read_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(batches_module, "_SHUFFLE_BYTES", 1)
    dataset = in_files(tmp_path / "dataset", 4)
    assert sources_of(dataset, count=8) == [f"0-{place}.png" for place in range(4)] * 2


def test_every_epoch_shows_the_examples_of_all_files_once(tmp_path):
    lengths = (3, 1, 2, *[1] * 16)  # more files than are read at once
    dataset = in_files(tmp_path / "dataset", *lengths)
    whole = batch_sources(dataset, batch_size=2 * sum(lengths), seed=3, number=0)
    expected = sorted(f"{number}-{place}.png" for number, length in enumerate(lengths) for place in range(length))
    assert sorted(whole[: sum(lengths)]) == sorted(whole[sum(lengths) :]) == expected
    assert batch_sources(dataset, batch_size=11, seed=3, number=2) == whole[22:33]


def test_pictures_of_a_batch_are_named(dataset):
    names = [name for number in range(4) for name in batch_sources(dataset, batch_size=2, seed=1, number=number)]
    assert names == [f"{count}.png" for count in counts(training(dataset), 4)]


def test_other_seeds_make_other_batches(dataset):
    orders = {tuple(counts(training(dataset, seed=seed), EXAMPLES)) for seed in range(4)}
    assert len(orders) > 1


def test_an_example_is_augmented_differently_each_time(dataset):
    batches = training(dataset, batch_size=EXAMPLES, augment=EVERYTHING).take(3)
    pictures = {np.asarray(image).tobytes() for batch in batches for image in batch["images"]}
    assert len(pictures) == 3 * EXAMPLES


def test_augmented_ground_truth_stays_in_the_picture(dataset):
    for batch in training(dataset, batch_size=EXAMPLES, augment=EVERYTHING).take(6):
        boxes = batch["boxes"].numpy()[batch["classes"].numpy() > 0]
        assert (boxes >= 0).all()
        assert (boxes <= 1).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert batch["images"].shape == (EXAMPLES, 30, 40, 3)


def test_mosaics_show_objects_of_the_next_pictures_too(mixed):
    alone = next(iter(training(mixed, batch_size=EXAMPLES)))
    mosaics = next(iter(training(mixed, batch_size=EXAMPLES, augment=NOTHING.model_copy(update={"mosaic": 1.0}))))
    assert (mosaics["images"].shape, mosaics["images"].dtype) == (alone["images"].shape, tf.float32)
    assert tf.math.count_nonzero(mosaics["classes"]) > tf.math.count_nonzero(alone["classes"])


def test_objects_too_thin_to_be_learned_are_left_out(tmp_path):
    objects = [("red", (0, 0, 1, 20)), ("green", (0, 0, 2, 20))]
    thin = tiny.write_dataset(tmp_path / "d", train=[tiny.serialize(objects, width=1500, height=30)])
    (batch,) = training(thin, batch_size=1).take(1)
    assert batch["classes"].numpy().tolist() == [[1]]


@pytest.mark.parametrize(("resize", "side"), [(resize, 30), (halve, None)], ids=["one size", "several sizes"])
def test_training_traces_a_step_once(mixed, resize, side):
    traces = []

    @tf.function(autograph=False)
    def step(iterator):
        batch = next(iterator)
        traces.append((batch["images"].shape[:2].as_list(), batch["boxes"].shape.as_list()))
        return tf.constant(0)

    iterator = iter(training_batches(mixed, batch_size=2, resize=resize, augment=EVERYTHING, seed=1))
    for _ in range(6):
        step(iterator)
    assert traces == [([2, side], [2, None, 4])]


def test_data_set_without_training_records_cannot_be_trained_on(tmp_path):
    dataset = tiny.write_dataset(tmp_path / "dataset", train=[], val=[example(1)])
    with pytest.raises(RecordError) as raised:
        training(dataset)
    assert str(raised.value) == (f"{tmp_path}/dataset: has no training records; prepare it with a val_split below 100")


def evaluation(dataset, **options):
    return list(evaluation_batches(dataset.val_records, batch_size=2, resize=resize, **options))


def test_evaluation_keeps_the_order_and_the_last_smaller_batch(dataset):
    batches = evaluation(dataset)
    assert [len(batch["images"]) for batch in batches] == [2, 2, 1]
    names = [name.decode() for batch in batches for name in batch["source_ids"].numpy()]
    assert names == [f"{number}.png" for number in range(EXAMPLES)]


@pytest.mark.parametrize(("examples", "taken"), [(None, 5), (3, 3), (0, 0), (9, 5)])
def test_evaluation_takes_the_first_examples(dataset, examples, taken):
    assert sum(len(batch["images"]) for batch in evaluation(dataset, examples=examples)) == taken


def test_evaluation_tells_the_sizes_of_the_original_pictures(dataset):
    first = evaluation(dataset)[0]
    assert first["heights"].numpy().tolist() == [60, 60]
    assert first["widths"].numpy().tolist() == [80, 81]
    assert first["boxes"].shape == (2, 1, 4)
    assert first["images"].shape == (2, 30, 40, 3)


def test_evaluation_of_images_of_several_sizes_one_by_one(mixed):
    batches = evaluation_batches(mixed.val_records, batch_size=1, resize=halve)
    traces = []

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None, None, 3])])
    def detect(images):
        traces.append(images.shape)
        return tf.shape(images)

    assert [detect(batch["images"]).numpy().tolist() for batch in batches] == [
        [1, 30, 40, 3],
        [1, 50, 30, 3],
        [1, 20, 60, 3],
    ]
    assert len(traces) == 1
    assert batches.element_spec["images"].shape.as_list() == [None, None, None, 3]


def test_crowds_are_not_learned_and_evaluation_knows_them(tmp_path):
    crowd = tiny.serialize([("red", (0, 0, 8, 8)), ("green", (8, 8, 30, 30))], crowd=[False, True])
    dataset = tiny.write_dataset(tmp_path / "dataset", train=[crowd], val=[crowd])
    (learned,) = training(dataset, batch_size=1).take(1)
    assert learned["classes"].numpy().tolist() == [[2]]
    assert learned["boxes"].shape == (1, 1, 4)
    (batch,) = evaluation(dataset)
    assert batch["crowd"].numpy().tolist() == [[False, True]]


def test_evaluation_knows_difficult_objects(tmp_path):
    objects = [("red", (0, 0, 8, 8)), ("green", (8, 8, 30, 30))]
    examples = [tiny.serialize(objects, difficult=[False, True]), tiny.serialize([])]
    dataset = tiny.write_dataset(tmp_path / "dataset", train=[], val=examples)
    (batch,) = evaluation(dataset)
    assert batch["difficult"].numpy().tolist() == [[False, True], [False, False]]
    assert batch["classes"].numpy().tolist() == [[2, 1], [0, 0]]


def test_pictures_are_read_as_they_are(dataset):
    images = read_images(dataset.val_records, 2)
    assert [image.shape.as_list() for image in images] == [[60, 80, 3], [60, 81, 3]]
    assert np.array_equal(images[1], tiny.draw([("red", (0, 0, 8, 20))], width=81, height=60))


def test_jpeg_has_the_pixels_that_detect_sees(tmp_path):
    noise = np.random.default_rng(3).integers(0, 256, (37, 53, 3), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(noise).save(encoded, "JPEG")
    annotation = Annotation(image=Path("a.jpg"), width=53, height=37)
    serialized = serialize_example(
        annotation, tiny.LABEL_MAP, encoded=encoded.getvalue(), image_format="jpeg", source_id="a.jpg"
    )
    dataset = tiny.write_dataset(tmp_path / "dataset", train=[], val=[serialized])
    (image,) = read_images(dataset.val_records, 1)
    assert np.array_equal(image, read_image(encoded.getvalue()))


def damage(path: Path, *, source_id: str) -> None:
    """Cut the picture of an example short, in a file that is sound otherwise."""
    examples = [tf.train.Example.FromString(each) for each in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for each in examples:
            features = each.features.feature
            if features["image/source_id"].bytes_list.value[0].decode() == source_id:
                features["image/encoded"].bytes_list.value[0] = features["image/encoded"].bytes_list.value[0][:60]
            writer.write(each.SerializeToString())


def read_all(dataset: Dataset) -> None:
    with naming_damage(dataset):
        for _ in training(dataset, batch_size=1).take(EXAMPLES):
            pass


def test_damaged_picture_is_named(tmp_path):
    examples = [example(number) for number in range(EXAMPLES)]
    dataset = tiny.write_dataset(tmp_path / "dataset", train=examples)
    (path,) = dataset.train_records
    damage(path, source_id="3.png")
    with pytest.raises(RecordError) as raised:
        read_all(dataset)
    message = str(raised.value)
    assert message.startswith(f"{path}: example 4 (3.png) cannot be decoded (")
    assert message.endswith("); write the records again, with a sound picture or without it")
    assert not any(noise in message for noise in ("\n", "{{", "[[", "[Op", "Iterator"))


def test_damaged_file_is_named(tmp_path):
    examples = [example(number) for number in range(EXAMPLES)]
    dataset = tiny.write_dataset(tmp_path / "dataset", train=examples)
    (path,) = dataset.train_records
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecordError) as raised:
        read_all(dataset)
    assert str(raised.value).startswith(f"{path}: example 5 cannot be read (corrupted record at ")
    assert str(raised.value).endswith("); copy or write the file again")


def test_error_of_something_else_goes_on(dataset):
    def work():
        with naming_damage(dataset):
            raise tf.errors.InvalidArgumentError(None, None, "shapes do not fit")

    with pytest.raises(tf.errors.InvalidArgumentError, match="shapes do not fit"):
        work()


def test_pictures_at_places_come_in_the_order_of_the_records(tmp_path):
    sizes = [(20, 10), (30, 12), (40, 14), (50, 16)]
    examples = [tiny.serialize([], width=width, height=height) for width, height in sizes]
    dataset = tiny.write_dataset(tmp_path / "dataset", train=[], val=examples)
    assert [image.shape for image in read_images_at(dataset.val_records, [3, 1])] == [(12, 30, 3), (16, 50, 3)]
    assert list(read_images_at(dataset.val_records, [])) == []
