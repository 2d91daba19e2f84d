"""Files of weights -> their variables under a detector's names, and the names of their classes."""

from __future__ import annotations

import json
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from odml.errors import RecordError, WeightsError, first_line
from odml.initial_weights import keras_files
from odml.initial_weights.scopes import name_in_detector
from odml.structures import LabelMap

_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_KERAS_FILES = (".h5", ".hdf5")
_FROZEN_GRAPH = "frozen_inference_graph.pb"
_DESCRIPTION = "model.json"
_LABELS = ("labels.pbtxt", "label_map.pbtxt")
_DEPTH = 3  # of the folders in which a checkpoint is looked for


@dataclass(frozen=True)
class Source:
    """Weights as they were read.

    Attributes:
        where: what was read, for messages.
        values: the variables under a detector's names.
        names: the classes in the order of their ids, if files beside the weights tell them.
    """

    where: str
    values: Mapping[str, np.ndarray]
    names: tuple[str, ...] | None


def read(path: Path) -> Source:
    """Read the weights of a file, a checkpoint's prefix or a folder.

    In a folder, and in a tarball, that is the latest ``model.ckpt-STEP``, else ``model.ckpt``, another checkpoint, a
    frozen graph or a Keras file, the first in this order; where there is none, the same in the folders in it.

    Raises:
        WeightsError: nothing is there, nothing that is known, or it is damaged.
    """
    if path.is_dir():
        return _read_folder(path)
    if path.name.endswith(_ARCHIVES) and path.is_file():
        return _read_archive(path)
    return _read_one(path)


def _read_archive(path: Path) -> Source:
    with tempfile.TemporaryDirectory(prefix="odml-") as folder:
        try:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
            raise WeightsError(f"{path}: cannot be unpacked ({first_line(error)}); fetch it again") from None
        try:
            source = _read_folder(Path(folder))
        except WeightsError as error:
            raise WeightsError(str(error).replace(folder, str(path))) from None
        return Source(source.where.replace(folder, str(path)), source.values, source.names)


def _read_folder(folder: Path) -> Source:
    for candidate in _folders(folder):
        if found := _find(candidate):
            return _read_one(found)
    raise WeightsError(
        f"{folder}: holds no weights; expected are model.ckpt.index with model.ckpt.data-*, model.ckpt-STEP.*, "
        f"{_FROZEN_GRAPH} or a Keras file (.h5)"
    )


def _folders(folder: Path) -> Iterator[Path]:
    """Give a folder and those in it, level by level."""
    level = [folder]
    for _ in range(_DEPTH):
        yield from level
        level = sorted(each for parent in level for each in parent.glob("*/"))


def _find(folder: Path) -> Path | None:
    """Find the weights in one folder: a file, or a checkpoint's prefix."""
    prefixes = [path.with_suffix("") for path in sorted(folder.glob("*.index"))]
    steps = {int(match[1]): path for path in prefixes if (match := re.fullmatch(r"model\.ckpt-(\d+)", path.name))}
    if steps:
        return steps[max(steps)]
    named = [path for path in prefixes if path.name == "model.ckpt"]
    files = [path for pattern in ("*.ckpt", _FROZEN_GRAPH, "*.h5") for path in sorted(folder.glob(pattern))]
    return next(iter([*named, *prefixes, *files]), None)


def _read_one(path: Path) -> Source:
    """Read a file or a checkpoint's prefix."""
    if path.suffix == ".pb" and path.is_file():
        return _read_frozen_graph(path)
    if path.suffix in _KERAS_FILES and path.is_file():
        return _source(path, keras_files.read(path))
    prefix = path.with_name(re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", path.name))
    if prefix.is_file() or prefix.with_name(f"{prefix.name}.index").is_file():
        return _source(prefix, _read_checkpoint(prefix))
    raise WeightsError(
        f"{path}: there is no such weights file; pass weights=coco, imagenet, or the path of a checkpoint, a frozen "
        "graph or a Keras file"
    )


def _read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """Read what belongs to the network out of a checkpoint, in TensorFlow's second or first format."""
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if name_in_detector(key)}
    # Of a torn file TensorFlow tells by an IndexError.
    except (tf.errors.OpError, ValueError, IndexError, RuntimeError) as error:
        raise WeightsError(
            f"{prefix}: is no checkpoint that can be read ({first_line(error)}); see that its .index and .data-* "
            "files are whole, or use another"
        ) from None


def _read_frozen_graph(path: Path) -> Source:
    """Read a graph's constants; of a graph whose constants were folded into others, the checkpoint beside it."""
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise WeightsError(f"{path}: is no frozen graph ({first_line(error)}); pass another file") from None
    constants = (node for node in graph.node if node.op == "Const" and name_in_detector(node.name))
    values = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in constants}
    if values:
        return _source(path, values)
    beside = path.with_name("model.ckpt")
    if beside.with_name("model.ckpt.index").is_file():
        return _source(beside, _read_checkpoint(beside))
    raise WeightsError(
        f"{path}: its constants are folded and do not carry the variables' names; pass the model.ckpt that was "
        "exported with it"
    )


def _source(path: Path, values: Mapping[str, np.ndarray]) -> Source:
    named = ((name_in_detector(name), value) for name, value in values.items())
    return Source(str(path), {name: value for name, value in named if name}, _class_names(path.parent))


def _class_names(folder: Path) -> tuple[str, ...] | None:
    """Read the names of the classes from what odml, or a user, laid beside the weights."""
    try:
        description = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        return LabelMap(tuple(description["label_map"])).names
    # Other programs' files have this name too.
    except (OSError, ValueError, KeyError, TypeError):
        pass
    for path in (folder / name for name in _LABELS):
        try:
            return LabelMap.from_pbtxt(path.read_text(encoding="utf-8")).names
        except (OSError, ValueError, RecordError):
            continue
    return None
