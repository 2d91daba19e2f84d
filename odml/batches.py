"""Records -> batches of images with padded ground truth.

A batch is a dict: ``images`` float32 [B, H, W, 3], RGB, 0..255, smaller ones padded with 0 at the bottom and right;
``boxes`` float32 [B, M, 4] yxyx, 0..1 of the image without its padding; ``classes`` int32 [B, M] from 1, 0 for padding.
M is the largest count of the batch and may be 0. Training batches have ``sizes`` int32 [B, 2], height and width of each
image without its padding, and ``numbers`` int64 [B], their places in the order of training, from 0, which seed what is
drawn at random for them. Evaluation batches have ``difficult`` bool [B, M]: in training such objects are learned like
any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from odml import augmentation
from odml.config import Augmentation
from odml.errors import RecordError
from odml.example_parsing import parse_example
from odml.foreign_records import short_reason, source_id_of
from odml.records import Dataset
from odml.structures import LabelMap

_SHUFFLE_BYTES = 256 * 1024 * 1024
_FILES_AT_ONCE = 16
_MOSAIC = 4  # pictures
_MIN_SIDE = 1e-3  # of the image; what a crop leaves of a thin box can round to nothing

Resize = Callable[[tf.Tensor], tf.Tensor]


def training_batches(
    dataset: Dataset,
    context: tf.distribute.InputContext | None = None,
    *,
    batch_size: int,
    resize: Resize,
    augment: Augmentation,
    seed: int,
    start: int = 0,
) -> tf.data.Dataset:
    """Give endless batches of the training records, shuffled and augmented, the same for the same seed.

    Args:
        context: says which part of the batches is wanted, as ``Strategy.distribute_datasets_from_function`` passes it;
            None: all. The replicas' batches of a step, of ``batch_size / replicas`` examples each, are together the
            batch that there would be without replicas; of the rest of it nothing is decoded.
        batch_size: of all replicas together, a multiple of their number.
        resize: image [H, W, 3] -> float32 [h, w, 3] (the architecture's).
        augment: which random changes to make.
        start: how many batches come before the first; what follows is the same as after them.

    Every epoch shows each example once; a batch may span two epochs. An epoch draws the order of the files, reads up
    to 16 of them by turns, an example of each, and shuffles these in a buffer, which holds encoded pictures, at most
    256 MB of them. The global seed of TensorFlow has a part in the order, and must not be 0.

    Raises:
        RecordError: no training records.
    """
    context = context or tf.distribute.InputContext()
    examples = _shuffled(dataset, seed=seed, start=start * batch_size)
    numbers = tf.data.Dataset.counter(start * batch_size)
    groups = examples.window(_MOSAIC, shift=1).flat_map(lambda group: group.batch(_MOSAIC))
    numbered = tf.data.Dataset.zip(groups if augment.mosaic else examples.batch(1), numbers)
    own = numbered.shard(context.num_input_pipelines, context.input_pipeline_id)

    @tf.autograph.experimental.do_not_convert
    def load(group: tf.Tensor, number: tf.Tensor) -> dict[str, tf.Tensor]:
        image, boxes, classes = _augmented(
            group, dataset.label_map, augment, resize, seed=tf.stack([tf.cast(seed, tf.int64), number])
        )
        has_area = tf.reduce_all(boxes[:, 2:] - boxes[:, :2] > _MIN_SIDE, axis=1)
        return {
            "images": image,
            "sizes": tf.shape(image)[:2],
            "boxes": tf.boolean_mask(boxes, has_area),
            "classes": tf.boolean_mask(classes, has_area),
            "numbers": number,
        }

    loaded = own.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batched = loaded.padded_batch(context.get_per_replica_batch_size(batch_size), drop_remainder=True)
    # Unless it knows that there is no end, TensorFlow asks all workers at every step whether there is another batch.
    endless = batched.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return endless.prefetch(tf.data.AUTOTUNE)


def batch_sources(dataset: Dataset, *, batch_size: int, seed: int, number: int) -> list[str]:
    """Name the pictures of a batch, counted from 0, that ``training_batches`` gives for the same seed."""
    batch = _shuffled(dataset, seed=seed, start=number * batch_size).take(batch_size)
    return [parse_example(serialized)["source_id"].numpy().decode() for serialized in batch]


def _shuffled(dataset: Dataset, *, seed: int, start: int) -> tf.data.Dataset:
    """Give endless serialized examples, every epoch in an order of its own, from so many examples on."""
    if not dataset.train_examples:
        raise RecordError(f"{dataset.folder}: has no training records; prepare it with a val_split below 100")
    files, buffer_size = [str(path) for path in dataset.train_records], _shuffle_size(dataset)

    @tf.autograph.experimental.do_not_convert
    def shuffle(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.stateless_uniform([], [seed, epoch], minval=1, maxval=2**31 - 1, dtype=tf.int64)
        return _interleaved(files, order).shuffle(buffer_size, seed=order, reshuffle_each_iteration=False)

    epoch, within = divmod(start, dataset.train_examples)
    return tf.data.Dataset.counter(epoch).flat_map(shuffle).skip(within)


def evaluation_batches(
    records: Sequence[Path | str],
    label_map: LabelMap | None = None,
    *,
    batch_size: int,
    resize: Resize,
    examples: int | None = None,
) -> tf.data.Dataset:
    """Give the first ``examples`` (None: all) examples in the records' order, none dropped, the last batch smaller.

    The label map finds classes that the records tell by text alone. Beside the usual keys a batch has ``heights`` and
    ``widths`` int32 [B] of the original pictures and ``source_ids`` string [B]. It does not say which part of an image
    is padding: where ``resize`` gives several sizes, ask for batches of 1, which have none.
    """
    selected = _read(records).take(-1 if examples is None else examples)

    @tf.autograph.experimental.do_not_convert
    def load(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        example = parse_example(serialized, label_map)
        image = _decode(example["encoded"])
        height, width = tf.unstack(tf.shape(image)[:2])
        return {
            "images": resize(image),
            "boxes": example["boxes"],
            "classes": example["classes"],
            "difficult": example["difficult"],
            "crowd": example["crowd"],
            "heights": height,
            "widths": width,
            "source_ids": example["source_id"],
        }

    loaded = selected.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return loaded.padded_batch(batch_size).prefetch(tf.data.AUTOTUNE)


def read_images(records: Sequence[Path | str], examples: int) -> list[tf.Tensor]:
    """Decode the first pictures of the records, uint8 [H, W, 3] in their original sizes."""
    return [_decode(parse_example(serialized)["encoded"]) for serialized in _read(records).take(examples)]


def read_images_at(records: Sequence[Path | str], places: Sequence[int]) -> Iterator[np.ndarray]:
    """Decode the pictures at places of the records, counted from 0, in their order: uint8 [H, W, 3], one at a time."""
    if not places:
        return
    wanted = tf.constant(sorted(places), tf.int64)
    examples = _read(records).take(max(places) + 1).enumerate()
    for _, serialized in examples.filter(lambda place, _: tf.reduce_any(wanted == place)):
        yield _decode(parse_example(serialized)["encoded"]).numpy()


@contextmanager
def naming_damage(dataset: Dataset) -> Iterator[None]:
    """Let an error that comes of damaged records or pictures in the block say which they are.

    TensorFlow does not tell. To find out, all records are read and decoded again; if they are sound, its error goes on.

    Raises:
        RecordError: a file or an example of the data set is damaged.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
        for path in (*dataset.train_records, *dataset.val_records, *dataset.test_records):
            _require_sound(path)
        raise


def _require_sound(path: Path | str) -> None:
    pictures = _read([path]).map(lambda each: tf.shape(_decode(parse_example(each)["encoded"])), tf.data.AUTOTUNE)
    number = 1
    try:
        for _ in pictures:
            number += 1
    except tf.errors.InvalidArgumentError as error:
        (serialized,) = _read([path]).skip(number - 1).take(1).as_numpy_iterator()
        raise RecordError(
            f"{path}: example {number} ({source_id_of(serialized)}) cannot be decoded ({short_reason(error)}); write "
            "the records again, with a sound picture or without it"
        ) from error
    except tf.errors.OpError as error:
        raise RecordError(
            f"{path}: example {number} cannot be read ({short_reason(error)}); copy or write the file again"
        ) from error


def _interleaved(files: Sequence[str], seed: tf.Tensor) -> tf.data.Dataset:
    """Give the examples of files in a drawn order, of several files by turns: of one file as they are in it."""
    ordered = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files), seed=seed, reshuffle_each_iteration=False)
    return ordered.interleave(
        tf.data.TFRecordDataset,
        cycle_length=min(len(files), _FILES_AT_ONCE),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _read(records: Sequence[Path | str]) -> tf.data.Dataset:
    return tf.data.TFRecordDataset([str(path) for path in records])


def _shuffle_size(dataset: Dataset) -> int:
    mean_bytes = sum(tf.io.gfile.stat(str(path)).length for path in dataset.train_records) / dataset.train_examples
    return max(1, min(dataset.train_examples, int(_SHUFFLE_BYTES / mean_bytes)))


def _decode(encoded: tf.Tensor) -> tf.Tensor:
    # TensorFlow's default for JPEG is off by up to 8 from Pillow, with which detect and serving decode; this is exact.
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )
    image.set_shape([None, None, 3])
    return image


def _augmented(
    group: tf.Tensor, label_map: LabelMap, augment: Augmentation, resize: Resize, *, seed: tf.Tensor
) -> augmentation.Example:
    """Give the first of the serialized examples changed at random, or a mosaic of them all, each changed too."""

    def one() -> augmentation.Example:
        return _augment(_learned(group[0], label_map), augment, resize, seed=seed)

    def all_together() -> augmentation.Example:
        examples = [_learned(group[index], label_map) for index in range(_MOSAIC)]
        parts = [_augment(example, augment, resize, seed=seeds[index]) for index, example in enumerate(examples)]
        return augmentation.mosaic(parts, seed=seeds[-1])

    if not augment.mosaic:
        return one()
    choice_seed, *seeds = tf.unstack(tf.random.experimental.stateless_split(seed, _MOSAIC + 2))
    return tf.cond(tf.random.stateless_uniform([], choice_seed) < augment.mosaic, all_together, one)


def _learned(serialized: tf.Tensor, label_map: LabelMap) -> augmentation.Example:
    """Give the decoded picture and what is to be learned of it."""
    parsed = parse_example(serialized, label_map)
    single = tf.logical_not(parsed["crowd"])  # a box around many is no example of one
    boxes, classes = tf.boolean_mask(parsed["boxes"], single), tf.boolean_mask(parsed["classes"], single)
    return _decode(parsed["encoded"]), boxes, classes


def _augment(
    example: augmentation.Example, augment: Augmentation, resize: Resize, *, seed: tf.Tensor
) -> augmentation.Example:
    flip_seed, crop_seed, color_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    if augment.random_crop:
        example = augmentation.random_crop(*example, seed=crop_seed)
    image, boxes, classes = example
    example = resize(image), boxes, classes
    # What works on every pixel comes after resizing, where there are fewer of them.
    if augment.horizontal_flip:
        example = augmentation.random_horizontal_flip(*example, seed=flip_seed)
    if augment.random_color:
        example = augmentation.random_color(*example, seed=color_seed)
    return example
