"""Records: annotated pictures as `tf.train.Example`, in sharded TFRecord files beside labels.pbtxt and dataset.yml.

The keys are the TF Object Detection API's own (its tf_example_decoder.py), so that its decoders read these records
and `odml.example_parsing` reads those it was used to make; `odml.foreign_records` finds these.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import yaml

from odml import boxes as box_algebra
from odml import foreign_records
from odml.errors import RecordError
from odml.example_parsing import BOX_KEYS, parse_example
from odml.structures import LABELS_FILE, SIDES, Annotation, LabelMap

DATASET_FILE = "dataset.yml"
SPLIT_FILE = "split.json"
IMAGES_FILE = "images.sha256"

RECORD_OVERHEAD = 16  # length, its checksum, the content's checksum: the TFRecord format
_RECORDS_OF_A_SIDE = re.compile(rf"({'|'.join(SIDES)})-\d+-\d+\.tfrecord$")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """Prepared records of one annotated set, as a folder's dataset.yml and labels.pbtxt describe them.

    ``train_records``, ``val_records`` and ``test_records`` are files in reading order, paths or the URIs of another
    file system; the examples are those in all of them together. Most sets have no test examples: then there are no
    ``test_records``, and they are not in dataset.yml. ``digest`` names the content; ``name`` is what people call it, ""
    if no dataset.yml tells it.
    """

    folder: Path
    label_map: LabelMap
    train_records: tuple[Path | str, ...]
    val_records: tuple[Path | str, ...]
    train_examples: int
    val_examples: int
    digest: str
    name: str = ""
    test_records: tuple[Path | str, ...] = ()
    test_examples: int = 0

    def records_of(self, side: str) -> tuple[Path | str, ...]:
        """Give the files of "train", "val" or "test"."""
        return {"train": self.train_records, "val": self.val_records, "test": self.test_records}[side]

    def examples_of(self, side: str) -> int:
        """Say how many examples "train", "val" or "test" has."""
        return {"train": self.train_examples, "val": self.val_examples, "test": self.test_examples}[side]


def open_dataset(folder: Path, *, sides: Sequence[str] = SIDES) -> Dataset:
    """Read what a folder of records holds, or one that describes records which lie in another place.

    Folders that prepare has written tell it in dataset.yml. What that does not tell, or all where there is none, is
    found by the names of the files and by reading all of them (`odml.foreign_records`).

    Args:
        sides: those of "train", "val" and "test" whose records are needed. If dataset.yml tells the rest, the others
            are not looked for: they may be missing, and the data set has none of them.
    Raises:
        RecordError: dataset.yml, the label map or records are missing, damaged or contradict each other.
    """
    path = folder / DATASET_FILE
    description = _read_description(path) if path.exists() else {}
    label_map = _read_labels(foreign_records.find_label_map(folder))
    if "num_classes" in description and len(label_map) != _natural(description, "num_classes", path):
        raise RecordError(
            f"{path}: num_classes is {description['num_classes']}, but the label map has {len(label_map)}; "
            f"prepare the records again or correct the wrong one"
        )
    if "records_folder" in description:
        _require_same(description, path)
    files: Mapping[str, tuple[Path | str, ...]]
    if any(f"{side}_records" in description for side in SIDES):
        has_test = "test_examples" in description or "test_records" in description
        there = SIDES if has_test else SIDES[:2]
        sought = sides if _is_told(description, there) else there
        files = {side: _find_records(description, side, path) if side in sought else () for side in there}
    else:
        files = foreign_records.find_records(folder)
    if not _is_told(description, [side for side in files if side != "test" or files[side]]):
        description = _completed(description, foreign_records.examine_records(files, label_map), path)
    return Dataset(
        folder=folder,
        label_map=label_map,
        train_records=files["train"],
        val_records=files["val"],
        train_examples=_natural(description, "train_examples", path),
        val_examples=_natural(description, "val_examples", path),
        digest=str(description["digest"]),
        name=str(description.get("name", "")),
        test_records=files.get("test", ()),
        test_examples=_natural(description, "test_examples", path) if files.get("test") else 0,
    )


def is_needed(name: str, *, side: str) -> bool:
    """Say whether who reads one side of a data set needs a file of its folder: all but the records of other sides."""
    found = _RECORDS_OF_A_SIDE.search(name)
    return found is None or found[1] == side


def read_annotations(records: Sequence[Path | str], label_map: LabelMap) -> Iterator[Annotation]:
    """Read the ground truth of records; an annotation's ``image`` is the example's source id.

    Raises:
        RecordError: a record is damaged, or has a class id that the label map does not know.
    """
    for path in records:
        for number, serialized in enumerate(foreign_records.read_examples(path), start=1):
            example = {name: tensor.numpy() for name, tensor in parse_example(serialized, label_map).items()}
            width, height = int(example["width"]), int(example["height"])
            yield Annotation(
                image=Path(example["source_id"].decode()),
                width=width,
                height=height,
                boxes=box_algebra.yxyx_to_xyxy(example["boxes"], width=width, height=height),
                names=_names(example["classes"], label_map, where=f"{path}: example {number}"),
                difficult=example["difficult"],
                crowd=example["crowd"],
            )


def serialize_example(
    annotation: Annotation, label_map: LabelMap, *, encoded: bytes, image_format: str, source_id: str
) -> bytes:
    """Make the serialized `tf.train.Example` of an annotated picture.

    Args:
        annotation: in pixels of the picture that ``encoded`` holds.
        label_map: gives the class ids; it must know every name.
        encoded: the picture's JPEG or PNG bytes.
        image_format: "jpeg" or "png".
        source_id: the picture's path below the folder of pictures, "/" between folders.
    """
    boxes = box_algebra.xyxy_to_yxyx(annotation.boxes, width=annotation.width, height=annotation.height)
    feature = {
        "image/height": _integers([annotation.height]),
        "image/width": _integers([annotation.width]),
        "image/filename": _strings([source_id]),
        "image/source_id": _strings([source_id]),
        "image/key/sha256": _strings([hashlib.sha256(encoded).hexdigest()]),
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
        "image/format": _strings([image_format]),
        **{f"image/object/bbox/{side}": _floats(boxes[:, column]) for column, side in enumerate(BOX_KEYS)},
        "image/object/class/text": _strings(annotation.names),
        "image/object/class/label": _integers([label_map.id_of(name) for name in annotation.names]),
        "image/object/difficult": _integers(np.asarray(annotation.difficult, np.int64)),
        "image/object/truncated": _integers(np.asarray(annotation.truncated, np.int64)),
        "image/object/view": _strings(annotation.poses or ()),
    }
    if np.any(annotation.crowd):  # readers of the others' records take a missing list for "none"
        feature["image/object/is_crowd"] = _integers(np.asarray(annotation.crowd, np.int64))
    features = tf.train.Features(feature=feature)
    return tf.train.Example(features=features).SerializeToString(deterministic=True)


def write_records(
    serialized: Iterable[bytes],
    folder: Path | str,
    name: str,
    *,
    count: int,
    max_file_size: int,
    first: int = 1,
    last: int | None = None,
) -> tuple[Path | str, ...]:
    """Write examples to files ``<name>-<first>-<last>.tfrecord``, padded to the width of ``count``.

    The examples are read as a stream, so that memory holds one at a time.

    Args:
        serialized: the examples ``first`` to ``last``; none gives no file.
        folder: where the files go, a path or a URI that TensorFlow knows; it exists.
        name: "train", "val" or "test", with the user's prefix.
        count: how many examples there are in all.
        max_file_size: megabytes; a file ends before the example that would exceed it. 0 is no limit.
        first: the number of the first example, from 1.
        last: the number of the last one; None: it is ``count``.
    Raises:
        RecordError: the folder cannot be written to.
    """
    limit, digits, last = megabytes(max_file_size), len(str(count)), last or count
    stream = iter(serialized)
    example = next(stream, None)
    paths: list[Path | str] = []
    while example is not None:
        # Its last name from the start, if it becomes no shorter than foreseen: where renaming is copying, that counts.
        path = join(folder, f"{name}-{first:0{digits}}-{last:0{digits}}.tfrecord")
        written, size = 0, 0
        with file_errors(path), tf.io.TFRecordWriter(str(path)) as writer:
            while example is not None and (not written or size + len(example) + RECORD_OVERHEAD <= limit):
                writer.write(example)
                written, size = written + 1, size + len(example) + RECORD_OVERHEAD
                example = next(stream, None)
        if example is not None:
            full, path = path, join(folder, f"{name}-{first:0{digits}}-{first + written - 1:0{digits}}.tfrecord")
            with file_errors(path):
                tf.io.gfile.rename(str(full), str(path))
        paths.append(path)
        first += written
    return tuple(paths)


def megabytes(max_file_size: int) -> float:
    """Give the bytes of a limit in megabytes, of which 0 is none."""
    return max_file_size * 1024 * 1024 if max_file_size else math.inf


def write_description(folder: Path | str, label_map: LabelMap, description: dict[str, Any]) -> None:
    """Write labels.pbtxt and dataset.yml; ``description`` is what dataset.yml tells beside ``num_classes``."""
    write_text(join(folder, LABELS_FILE), [label_map.to_pbtxt()])
    text = yaml.safe_dump({"num_classes": len(label_map), **description}, sort_keys=False, allow_unicode=True)
    write_text(join(folder, DATASET_FILE), [text])


def is_uri(place: Path | str) -> bool:
    """Say whether a place is the URI of one of TensorFlow's file systems (``gs://bucket/folder``), and no path."""
    return "://" in str(place)


def join(folder: Path | str, name: str) -> Path | str:
    """Give the place of a file in a folder: a path, or a URI if the folder's place is one."""
    return f"{folder}/{name}" if is_uri(folder) else Path(folder, name)


def write_text(place: Path | str, parts: Iterable[str]) -> None:
    """Write a file of UTF-8 text, part after part, to a path or a URI; raise RecordError if that cannot be."""
    with file_errors(place), tf.io.gfile.GFile(str(place), "w") as file:
        for part in parts:
            file.write(part)


@contextmanager
def file_errors(place: Path | str) -> Iterator[None]:
    """Turn what TensorFlow's file systems raise into a RecordError that names the place."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = " ".join(error.message.split())
        raise RecordError(f"{place}: cannot be read or written ({reason}); check the place and your rights") from error


def _strings(values: Iterable[str]) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode() for value in values]))


def _integers(values: Iterable[int] | np.ndarray) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(values: Iterable[float] | np.ndarray) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _names(classes: np.ndarray, label_map: LabelMap, *, where: str) -> tuple[str, ...]:
    try:
        return tuple(label_map.name_of(int(class_id)) for class_id in classes)
    except KeyError as error:
        raise RecordError(
            f"{where}: class id {error} is not in the label map, which has 1 to {len(label_map)}; "
            "use the one that the records were made with"
        ) from None


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: is no YAML ({' '.join(str(error).split())}); prepare the records again") from error
    if not isinstance(description, dict):
        raise RecordError(f"{path}: is no mapping of keys to values; prepare the records again")
    return description


def _read_labels(path: Path) -> LabelMap:
    try:
        label_map = LabelMap.from_pbtxt(path.read_text(encoding="utf-8", errors="replace"))
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from None
    if label_map.unused:
        _log.warning("%s: no class has the ids %s; they stay unused", path, ", ".join(map(str, label_map.unused)))
    return label_map


def _completed(description: dict[str, Any], found: dict[str, Any], path: Path) -> dict[str, Any]:
    """Add what was found to what dataset.yml tells; raise RecordError if they differ."""
    for key, value in found.items():
        if key.endswith("_examples") and description.get(key, value) != value:
            raise RecordError(f"{path}: {key} is {description[key]!r}, but its records hold {value}; correct it")
    return found | description


def _natural(description: dict[str, Any], key: str, path: Path) -> int:
    value = description.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise RecordError(f"{path}: {key} is {value!r}; it must be a number of 0 or more")
    return value


def _is_told(description: Mapping[str, Any], sides: Iterable[str]) -> bool:
    """Say whether a description has the digest, and the numbers of examples of the sides."""
    return {"digest", *(f"{side}_examples" for side in sides)} <= description.keys()


def _find_records(description: dict[str, Any], name: str, path: Path) -> tuple[Path | str, ...]:
    pattern = description.get(f"{name}_records")
    if not isinstance(pattern, str) or not pattern or Path(pattern).is_absolute():
        raise RecordError(f"{path}: {name}_records is {pattern!r}; it must be a pattern such as {name}-*.tfrecord")
    records = _fitting(description.get("records_folder") or path.parent, pattern)
    if not records and description.get(f"{name}_examples"):
        raise RecordError(f"{path}: no file fits {name}_records {pattern!r}; copy the records beside {path.name}")
    return records


def _fitting(folder: Path | str, pattern: str) -> tuple[Path | str, ...]:
    if not is_uri(folder):
        return tuple(sorted(Path(folder).glob(pattern)))
    with file_errors(folder):
        names = sorted(tf.io.gfile.listdir(str(folder))) if tf.io.gfile.isdir(str(folder)) else []
    return tuple(f"{folder}/{name}" for name in names if fnmatchcase(name, pattern))


def _require_same(description: dict[str, Any], path: Path) -> None:
    """Raise RecordError if the records that lie in another place are no more those that were described."""
    folder = description["records_folder"]
    described = join(folder, DATASET_FILE)
    with file_errors(described), tf.io.gfile.GFile(str(described)) as file:
        there = yaml.safe_load(file.read())
    if there.get("digest") != description.get("digest"):
        raise RecordError(
            f"{path}: its records in {folder} have been replaced by others (digest {there.get('digest')} instead of "
            f"{description.get('digest')}); use the run that has prepared those"
        )
