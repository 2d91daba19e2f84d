"""A network over evaluation batches: what it detects beside what is there, in pixels of the original pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from odml.boxes import yxyx_to_xyxy
from odml.progress import progress
from odml.structures import Annotation, Detections, LabelMap

Detect = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]


def predict(
    detect: Detect, batches: Iterable[Mapping[str, tf.Tensor]], label_map: LabelMap, *, examples: int
) -> tuple[list[Annotation], list[Detections]]:
    """Detect in every picture of ``batches.evaluation_batches``.

    Args:
        detect: an architecture's ``detect``, as it is or as a ``tf.function``.
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
    outputs = {key: value.numpy() for key, value in found.items() if not key.startswith("raw_")}
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
