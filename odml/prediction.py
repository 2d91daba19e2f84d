"""A network over evaluation batches: what it detects beside what is there, in pixels of the original pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from odml.boxes import yxyx_to_xyxy
from odml.progress import progress
from odml.structures import Annotation, Detections, LabelMap

Detect = Callable[[tf.Tensor], Mapping[str, Any]]
BATCH_SIZE = 8


class Network(Protocol):
    """What prediction needs of an architecture."""

    fixed_size: bool

    def resize(self, images: tf.Tensor) -> tf.Tensor:
        """Bring pictures to the network's input size."""

    def detect(self, images: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Give detections under the exported graph's names."""


@dataclass(frozen=True)
class Predictor:
    """What detects, and the batches that it takes: how their pictures are resized, and how many there are.

    Make one with ``of_network`` or ``of_form``.
    """

    detect: Detect
    resize: Callable[[tf.Tensor], tf.Tensor]
    batch_size: int

    @classmethod
    def of_network(cls, network: Network) -> Predictor:
        """Run a network as it is at each call."""
        detect = tf.function(
            network.detect,
            input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="images")],
            autograph=False,
        )
        # Among others of its batch a smaller image is padded, and padding changes its scores.
        return cls(detect, network.resize, BATCH_SIZE if network.fixed_size else 1)

    @classmethod
    def of_form(cls, detect: Detect) -> Predictor:
        """Run what takes uint8 pictures of any size, one at a time."""
        return cls(detect, tf.identity, 1)


def predict(
    detect: Detect, batches: Iterable[Mapping[str, tf.Tensor]], label_map: LabelMap, *, examples: int
) -> tuple[list[Annotation], list[Detections]]:
    """Detect in every picture of ``batches.evaluation_batches``.

    Args:
        detect: pictures of a batch -> the exported graph's tensors, or arrays.
        label_map: names the classes; a class id of the ground truth that it does not have raises KeyError.
        examples: how many pictures there are, for the progress line.
    Returns:
        The ground truth (its ``image`` is the example's source id) and the detections, picture by picture.
    """
    annotations: list[Annotation] = []
    detections: list[Detections] = []
    rows = (row for batch in batches for row in _rows(batch, detect(batch["images"])))
    for example, found in progress(rows, total=examples, description="evaluate"):
        annotations.append(_annotation(example, label_map))
        detections.append(_detections(found, width=int(example["widths"]), height=int(example["heights"])))
    return annotations, detections


def _rows(batch: Mapping[str, tf.Tensor], found: Mapping[str, tf.Tensor]) -> Iterable[tuple[dict, dict]]:
    arrays = {key: value.numpy() for key, value in batch.items() if key != "images"}
    outputs = {key: np.asarray(value) for key, value in found.items() if not key.startswith("raw_")}
    for row in range(len(arrays["heights"])):
        yield {key: value[row] for key, value in arrays.items()}, {key: value[row] for key, value in outputs.items()}


def _annotation(example: Mapping[str, np.ndarray], label_map: LabelMap) -> Annotation:
    width, height = int(example["widths"]), int(example["heights"])
    present = example["classes"] > 0
    return Annotation(
        image=Path(bytes(example["source_ids"]).decode()),
        width=width,
        height=height,
        boxes=yxyx_to_xyxy(example["boxes"][present], width=width, height=height),
        names=tuple(label_map.name_of(int(number)) for number in example["classes"][present]),
        difficult=example["difficult"][present],
        crowd=example["crowd"][present],
    )


def _detections(found: Mapping[str, np.ndarray], *, width: int, height: int) -> Detections:
    count = int(found["num_detections"])
    return Detections(
        boxes=yxyx_to_xyxy(found["detection_boxes"][:count], width=width, height=height),
        scores=found["detection_scores"][:count],
        classes=found["detection_classes"][:count].astype(np.int32),
    )
