"""What a data set holds for a network to learn, told before a step is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from odml.architectures import Architecture
from odml.errors import RecordError
from odml.records import Dataset, parse_example

# Below this share of objects with a good anchor the advice to change the model is worth a line.
FEW = 0.5
_MOST_MATCHED = 1000  # pictures whose objects are compared with the anchors


@dataclass(frozen=True)
class Suitability:
    """How a data set fits a network.

    Attributes:
        objects: the number of training objects of each class, by name, in the label map's order.
        matched: share, 0..1, of the objects in the first 1000 training pictures that overlap an anchor by at least
            ``threshold``. The others are learned too, by the anchor nearest to them, but worse.
        threshold: the IoU from which an anchor stands for an object.
    """

    objects: dict[str, int]
    matched: float
    threshold: float

    def warnings(self) -> list[str]:
        """Say in a line each what a user should know before a long training."""
        unseen = [name for name, count in self.objects.items() if not count]
        lines = []
        if unseen:
            lines.append(
                f"classes without any training object: {', '.join(unseen)}; they cannot be learned, add pictures"
            )
        if self.matched < FEW:
            lines.append(
                f"only {self.matched:.0%} of the objects overlap an anchor by {self.threshold} or more, the others are "
                "hard to learn; give a YAML file that extends the model with larger images, or with anchors of their "
                "sizes and shapes"
            )
        return lines


def examine(dataset: Dataset, model: Architecture) -> Suitability:
    """Count the training objects of each class, and compare those of the first 1000 pictures with the anchors.

    Raises:
        RecordError: no training picture has an object.
    """
    objects = np.zeros(len(dataset.label_map) + 1, np.int64)
    overlaps: list[np.ndarray] = []
    for number, example in enumerate(_ground_truth(dataset.train_records)):
        objects += np.bincount(example["classes"].numpy(), minlength=len(objects))
        if number < _MOST_MATCHED:
            height, width = int(example["height"]), int(example["width"])
            overlaps.append(model.best_overlaps(example["boxes"], height, width).numpy())
    if not objects.any():
        raise RecordError(f"{dataset.folder}: no training picture has an object; there is nothing to learn")
    matched = np.concatenate(overlaps) >= model.matched_threshold
    return Suitability(
        objects=dict(zip(dataset.label_map.names, objects[1:].tolist(), strict=True)),
        matched=float(np.mean(matched)) if matched.size else 1.0,
        threshold=model.matched_threshold,
    )


def _ground_truth(records: Sequence[Path]) -> tf.data.Dataset:
    wanted = ("classes", "boxes", "height", "width")

    def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        example = parse_example(serialized)
        return {name: example[name] for name in wanted}

    return tf.data.TFRecordDataset([str(path) for path in records]).map(parse, tf.data.AUTOTUNE, deterministic=True)
