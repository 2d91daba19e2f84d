"""Records as other programs write them, made with ``tf.train.Example`` alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

LABEL_MAP = "item {\n  name: 'cat'\n  id: 1\n}\nitem {\n  id: 2\n  name: 'dog'\n  display_name: 'Hound'\n}\n"
Value = bytes | int | float


def picture(*, width: int = 8, height: int = 4, image_format: str = "JPEG") -> bytes:
    """Encode a picture of noise."""
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, image_format)
    return encoded.getvalue()


def example(**values: Value | Sequence[Value]) -> bytes:
    """Serialize an example; keys are those after ``image/``, with ``__`` for a slash. None are added."""
    features = {}
    for key, value in values.items():
        listed = list(value) if isinstance(value, (list, tuple)) else [value]
        feature = tf.train.Feature()
        if isinstance(listed[0], bytes):
            feature.bytes_list.value.extend(listed)
        elif isinstance(listed[0], int):
            feature.int64_list.value.extend(listed)
        else:
            feature.float_list.value.extend(listed)
        features["image/" + key.replace("__", "/")] = feature
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def sides(*boxes: tuple[float, float, float, float]) -> dict[str, list[float]]:
    """Give the keys of boxes xmin, ymin, xmax, ymax."""
    names = ("xmin", "ymin", "xmax", "ymax")
    return {f"object__bbox__{name}": list(column) for name, column in zip(names, zip(*boxes, strict=True), strict=True)}


def object_example(*, source_id: str = "a.jpg", label: int = 1, width: int = 8, height: int = 4) -> bytes:
    """Serialize a picture with one object, with no key that is not needed."""
    return example(
        encoded=picture(width=width, height=height),
        source_id=source_id.encode(),
        **sides((0.25, 0.25, 0.75, 0.75)),
        object__class__label=label,
    )


def write(path: Path, *examples: bytes) -> Path:
    """Write a file of records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for each in examples:
            writer.write(each)
    return path
