"""A network and a data set that are small enough to train in a test."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import yaml
from PIL import Image

from odml import architectures, config, records
from odml.architectures import SSD
from odml.config import Configuration
from odml.records import Dataset
from odml.structures import Annotation, LabelMap

LABEL_MAP = LabelMap(("green", "red"))
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30)}
GROUND = (90, 90, 90)
# Feature maps of 4 x 4, 2 x 2 and 1 x 1 cells: 3 * 16 + 6 * 4 + 6 anchors.
CHANGES = {"image_size": [64, 64], "depth_multiplier": 0.25, "extra_layers": [32]}
MODEL = yaml.safe_dump({"extends": "ssd_mobilenet_v2", **CHANGES, "training": {"warmup_steps": 1}})
ANCHORS = 78

Object = tuple[str, tuple[int, int, int, int]]


def configuration(**training: Any) -> Configuration:
    """Give a small SSD, with changes to the section ``training``."""
    data = config.load("ssd_mobilenet_v2").model_dump() | CHANGES
    return config.validate(data, where="tiny").with_training(**training)


def lively_network() -> SSD:
    """Build the small SSD so that its scores differ from picture to picture."""
    tf.random.set_seed(1)
    network = architectures.build(configuration(), len(LABEL_MAP))
    for variable in network.trainable_variables:
        # Fresh kernels let hardly any signal through such a thin picture.
        if variable.name in ("weights", "depthwise_weights"):
            inputs = variable.shape[:2] if variable.name == "depthwise_weights" else variable.shape[:3]
            variable.assign(tf.random.normal(variable.shape, stddev=math.sqrt(1 / math.prod(inputs))))
    return network


def draw(objects: Sequence[Object], *, width: int = 80, height: int = 60) -> np.ndarray:
    """Draw objects (class, box in pixels) as full rectangles on grey, uint8 [H, W, 3]."""
    image = np.full((height, width, 3), GROUND, np.uint8)
    for name, (x1, y1, x2, y2) in objects:
        image[y1:y2, x1:x2] = COLOURS[name]
    return image


def serialize(
    objects: Sequence[Object],
    *,
    source_id: str = "a.png",
    difficult: Sequence[bool] | None = None,
    crowd: Sequence[bool] | None = None,
    **size: int,
) -> bytes:
    """Make the example of a drawn picture."""
    image = draw(objects, **size)
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "PNG")
    annotation = Annotation(
        image=Path(source_id),
        width=image.shape[1],
        height=image.shape[0],
        boxes=np.array([box for _, box in objects], np.float32).reshape(-1, 4),
        names=tuple(name for name, _ in objects),
        difficult=None if difficult is None else np.array(difficult, np.bool_),
        crowd=None if crowd is None else np.array(crowd, np.bool_),
    )
    return records.serialize_example(
        annotation, LABEL_MAP, encoded=encoded.getvalue(), image_format="png", source_id=source_id
    )


def write_dataset(
    folder: Path, *, train: Sequence[bytes], val: Sequence[bytes] = (), test: Sequence[bytes] = ()
) -> Dataset:
    """Write examples as ``prepare`` leaves them."""
    folder.mkdir(parents=True)
    description: dict[str, Any] = {
        "name": "tiny",
        "digest": hashlib.sha256(b"".join([*train, *val, *test])).hexdigest(),
    }
    for name, examples in {"train": train, "val": val, **({"test": test} if test else {})}.items():
        records.write_records(examples, folder, name, count=len(examples), max_file_size=0)
        description |= {f"{name}_examples": len(examples), f"{name}_records": f"{name}-*.tfrecord"}
    records.write_description(folder, LABEL_MAP, description)
    return records.open_dataset(folder)
