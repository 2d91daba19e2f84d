"""Folders of records that another program has written: what a dataset.yml would say of them.

The TF Object Detection API's tools leave TFRecord files, often in shards ``train.record-00000-of-00010``, and a label
map beside them. What the files are for is in their names, or in those of their folders; how many examples there are,
and whether all of them can be learned from, is known by reading them.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from odml.errors import RecordError
from odml.progress import progress
from odml.structures import DIGEST_LENGTH, LABELS_FILE, LabelMap

_SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d{5,})-of-(?P<count>\d{5,})")
_RECORDS = re.compile(r".+\.(tf)?records?", re.IGNORECASE)
_SIDES = {"train": "train", "val": "val", "eval": "val", "test": "test"}
_FARTHEST = 0.1  # out of 0..1, of a side that is the picture's edge, badly rounded
_BOX = "image/object/bbox/"
_KINDS = {
    "image/encoded": "bytes_list",
    "image/height": "int64_list",
    "image/width": "int64_list",
    "image/filename": "bytes_list",
    "image/source_id": "bytes_list",
    **{f"{_BOX}{side}": "float_list" for side in ("xmin", "xmax", "ymin", "ymax")},
    "image/object/class/text": "bytes_list",
    "image/object/class/label": "int64_list",
    "image/object/difficult": "int64_list",
    "image/object/is_crowd": "int64_list",
    "image/object/group_of": "int64_list",
    "image/object/weight": "float_list",
}
_SINGLE = ("image/encoded", "image/height", "image/width", "image/filename", "image/source_id")

_log = logging.getLogger(__name__)


def find_label_map(folder: Path) -> Path:
    """Find the label map of a folder: ``labels.pbtxt``, or the only other ``*.pbtxt`` in it or in folders in it.

    Several with the same content are one.

    Raises:
        RecordError: there is none, or there are several.
    """
    if (folder / LABELS_FILE).is_file():
        return folder / LABELS_FILE
    contents = {path.read_bytes(): path for path in sorted(folder.rglob("*.pbtxt"), reverse=True)}
    if not contents:
        raise RecordError(
            f"{folder}: holds no label map (*.pbtxt); put the one there that the records were made with, or give a "
            "folder that prepare has written"
        )
    if len(contents) > 1:
        names = ", ".join(sorted(path.relative_to(folder).as_posix() for path in contents.values()))
        raise RecordError(f"{folder}: holds several label maps ({names}); name the right one {LABELS_FILE}")
    return next(iter(contents.values()))


def find_records(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Find the records below a folder by their names: the files for "train", "val" and "test", each sorted.

    Records are ``*.record``, ``*.tfrecord`` and the like, and shards ``*-00000-of-00010``. They are for what a word of
    their name begins with, or of the names of their folders: train, val, eval or test. Where nothing is for validation,
    those for a test are. Files that do not say it are left out with a warning.

    Raises:
        RecordError: there are none, none says what it is for, one says several things, or a shard is missing.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_records(path.name)]
    if not files:
        raise RecordError(f"{folder}: holds no records; give a folder that prepare has written, or one of TFRecords")
    _require_all_shards(files)
    found: dict[str, list[Path]] = {"train": [], "val": [], "test": []}
    unknown = []
    for path in files:
        side = _side_of(path, folder)
        found[side].append(path) if side else unknown.append(path.relative_to(folder).as_posix())
    if len(unknown) == len(files):
        raise RecordError(
            f"{folder}: no name tells which records are for training ({unknown[0]}, ...); let the names begin with "
            "train, val or test"
        )
    if unknown:
        _log.warning("%s: left out, as no name tells what they are for: %s", folder, ", ".join(unknown))
    if not found["val"]:
        found |= {"val": found["test"], "test": []}
    return {side: tuple(paths) for side, paths in found.items()}


def examine_records(records: Mapping[str, Sequence[Path | str]], label_map: LabelMap) -> dict[str, Any]:
    """Read all records; give how many examples each side has, and a digest of the content, as dataset.yml has them.

    What the files are called, and how the examples are spread over them, does not change the digest.

    Args:
        records: the files of each side.
        label_map: the classes.
    Raises:
        RecordError: an example cannot be read, lacks its picture, has sides or classes of an object missing, sides that
            are no shares of the picture's, or a class that the label map does not have.
    """
    known = _Known.of(label_map)
    counts = dict.fromkeys(records, 0)
    digests = []
    notes: dict[str, list[str]] = defaultdict(list)
    for side, where, serialized in progress(_examples(records), total=None, description="reading records"):
        counts[side] += 1
        digests.append(f"{side} {hashlib.sha256(serialized).hexdigest()}")
        for note in _examine(serialized, known, where):
            notes[note].append(where)
    for note, places in notes.items():
        _log.warning("%s: %s in %d examples", places[0], note, len(places))
    content = "\n".join([*label_map.names, *sorted(digests)])
    digest = hashlib.sha256(content.encode()).hexdigest()[:DIGEST_LENGTH]
    return {**{f"{side}_examples": count for side, count in counts.items()}, "digest": digest}


@dataclass(frozen=True)
class _Known:
    """What examples may call the classes."""

    names: frozenset[bytes]
    ids: frozenset[int]

    @classmethod
    def of(cls, label_map: LabelMap) -> _Known:
        names = (*label_map.names, *(alias for alias, _ in label_map.aliases))
        ids = set(range(1, len(label_map) + 1)) - set(label_map.unused)
        return cls(frozenset(name.encode() for name in names), frozenset(ids))


def _is_records(name: str) -> bool:
    shard = _SHARD.fullmatch(name.removesuffix(".tfrecord"))
    return not name.startswith(".") and bool(shard or _RECORDS.fullmatch(name))


def _side_of(path: Path, folder: Path) -> str | None:
    for name in reversed(path.relative_to(folder).parts):
        words = re.findall(r"[a-z]+", name.lower())
        sides = {side for word in words for beginning, side in _SIDES.items() if word.startswith(beginning)}
        if len(sides) > 1:
            raise RecordError(f"{path}: its name says {' and '.join(sorted(sides))}; give it a name with one of them")
        if sides:
            return sides.pop()
    return None


def _require_all_shards(files: Sequence[Path]) -> None:
    numbers: dict[tuple[Path, str], set[int]] = defaultdict(set)
    for path in files:
        if shard := _SHARD.fullmatch(path.name.removesuffix(".tfrecord")):
            numbers[path.with_name(shard["name"]), shard["count"]].add(int(shard["number"]))
    for (name, count), there in numbers.items():
        if missing := sorted(set(range(int(count))) - there):
            raise RecordError(
                f"{name}: {len(missing)} of {int(count)} shards are missing, first {name.name}-{missing[0]:05}-of-"
                f"{count}; copy them there"
            )


def _examples(records: Mapping[str, Sequence[Path | str]]) -> Iterator[tuple[str, str, bytes]]:
    for side, paths in records.items():
        for path in paths:
            for number, serialized in enumerate(read_examples(path), start=1):
                yield side, f"{path}: example {number}", serialized.numpy()


def read_examples(path: Path | str) -> Iterator[tf.Tensor]:
    """Yield the serialized examples of a file; raise RecordError where it cannot be read on."""
    number = 1
    try:
        for serialized in tf.data.TFRecordDataset(str(path)):
            yield serialized
            number += 1
    except tf.errors.OpError as error:
        raise RecordError(
            f"{path}: example {number} cannot be read ({short_reason(error)}); copy or write the file again"
        ) from error


def short_reason(error: tf.errors.OpError) -> str:
    """Give what TensorFlow says of an error, without the names of its operations."""
    text = re.sub(r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:.*|\n.*", "", error.message, flags=re.DOTALL)
    text = re.sub(r"Error in user-defined function .*? with iterator: [\w:]+: ", "", text)
    return " ".join(text.split())


def source_id_of(serialized: bytes) -> str:
    """Give the source id, or else the file name, of an example in whatever state; "" if it tells neither."""
    try:
        features = tf.train.Example.FromString(serialized).features.feature
    except Exception:  # protobuf's own class of it depends on its implementation
        return ""
    values = [*features["image/source_id"].bytes_list.value, *features["image/filename"].bytes_list.value]
    return values[0].decode(errors="replace") if values else ""


def _examine(serialized: bytes, known: _Known, where: str) -> list[str]:
    """Raise RecordError for what cannot be used; give notes on what is used otherwise than it may be meant."""
    values = _values(serialized, where)
    if not values.get("image/encoded"):
        raise RecordError(f"{where}: has no image/encoded; write the pictures into the records")
    sides = [values.get(f"{_BOX}{side}", []) for side in ("xmin", "ymin", "xmax", "ymax")]
    if len({len(side) for side in sides}) > 1:
        raise RecordError(f"{where}: its boxes have {', '.join(str(len(side)) for side in sides)} sides; write it anew")
    boxes = np.array(sides, np.float64).T  # [N, 4]
    inside = np.all((boxes >= -_FARTHEST) & (boxes <= 1 + _FARTHEST), axis=1)
    if not inside.all():
        shown = ", ".join(f"{side:g}" for side in boxes[~inside][0])
        raise RecordError(f"{where}: a box is {shown} (x, y, x, y); its sides must be shares of the picture's, 0 to 1")
    _require_known_classes(values, known, count=len(boxes), where=where)
    notes = []
    if np.any(boxes[:, 2:] <= boxes[:, :2]):
        notes.append("boxes without an area, which are left out")
    if set(values.get("image/object/weight", [])) - {0.0, 1.0}:
        notes.append("weights between 0 and 1, which count as 1")
    return notes


def _values(serialized: bytes, where: str) -> dict[str, Any]:
    """Give the values of the keys that are read, by key; those without a value are not there."""
    try:
        features = tf.train.Example.FromString(serialized).features.feature
    except Exception as error:  # protobuf's own class of it depends on its implementation
        raise RecordError(f"{where}: is no tf.train.Example; give records of annotated pictures") from error
    values = {}
    for key, kind in _KINDS.items():
        found = features[key].WhichOneof("kind") if key in features else None
        if found is None:
            continue
        if found != kind:
            raise RecordError(f"{where}: {key} is a {found}, not a {kind}; write it anew")
        values[key] = list(getattr(features[key], kind).value)
        if key in _SINGLE and len(values[key]) != 1:
            raise RecordError(f"{where}: {key} has {len(values[key])} values, not one; write it anew")
    return values


def _require_known_classes(values: Mapping[str, Any], known: _Known, *, count: int, where: str) -> None:
    texts, labels = (values.get(f"image/object/class/{key}", []) for key in ("text", "label"))
    if max(len(texts), len(labels)) != count:
        stated = f"{len(labels)} labels and {len(texts)} names"
        raise RecordError(f"{where}: has {count} boxes, but {stated} of classes; write it anew")
    for index in range(count):
        text = texts[index] if index < len(texts) else b""
        label = labels[index] if index < len(labels) else 0
        if text not in known.names and label not in known.ids:
            raise RecordError(
                f"{where}: object {index + 1} has the class {text.decode(errors='replace')!r}, label {label}, which "
                "the label map does not have; use the one that the records were made with"
            )
