"""What a data set holds for a network to learn, told before a step is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from odml.architectures import Architecture
from odml.boxes import xyxy_to_yxyx
from odml.errors import RecordError
from odml.example_parsing import parse_example
from odml.inspection.statistics import FEW_MATCHED, MATCH_MORE, AnchorMatch
from odml.records import Dataset
from odml.structures import Annotation, LabelMap

_MOST_MATCHED = 1000  # pictures whose objects are compared with the anchors

_Picture: TypeAlias = tuple[tf.Tensor, int, int]  # boxes [N, 4], height, width


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
        if self.matched < FEW_MATCHED:
            lines.append(
                f"only {self.matched:.0%} of the objects overlap an anchor by {self.threshold} or more, the others are "
                f"hard to learn; {MATCH_MORE}"
            )
        return lines


def examine(dataset: Dataset, model: Architecture) -> Suitability:
    """Count the training objects of each class, and compare those of the first 1000 pictures with the anchors.

    Raises:
        RecordError: no training picture has an object.
    """
    objects = np.zeros(len(dataset.label_map) + 1, np.int64)
    pictures: list[_Picture] = []
    for example in _ground_truth(dataset.train_records, dataset.label_map):
        objects += np.bincount(example["classes"].numpy(), minlength=len(objects))
        if len(pictures) < _MOST_MATCHED:
            pictures.append((example["boxes"], int(example["height"]), int(example["width"])))
    if not objects.any():
        raise RecordError(f"{dataset.folder}: no training picture has an object; there is nothing to learn")
    matched = _are_matched(pictures, model)
    return Suitability(
        objects=dict(zip(dataset.label_map.names, objects[1:].tolist(), strict=True)),
        matched=float(np.mean(matched)) if matched.size else 1.0,
        threshold=model.matched_threshold,
    )


def match_anchors(annotations: Sequence[Annotation], model: Architecture, *, name: str) -> AnchorMatch | None:
    """Compare the objects of up to 1000 pictures, evenly chosen, with the anchors; None if they have no object.

    Crowds are left out: they are not learned. ``name`` is what people call the model.
    """
    chosen = annotations[:: -(-len(annotations) // _MOST_MATCHED)] if annotations else ()
    pictures: list[_Picture] = []
    learned: list[str] = []
    for annotation in chosen:
        assert annotation.crowd is not None  # an Annotation fills it in
        single = ~annotation.crowd
        boxes = xyxy_to_yxyx(annotation.boxes[single], width=annotation.width, height=annotation.height)
        pictures.append((tf.constant(boxes), annotation.height, annotation.width))
        learned += [name for name, is_learned in zip(annotation.names, single, strict=True) if is_learned]
    if not learned:
        return None
    names = np.array(learned)
    matched = _are_matched(pictures, model)
    return AnchorMatch(
        model=name,
        threshold=model.matched_threshold,
        share=float(matched.mean()),
        of_class={str(each): float(matched[names == each].mean()) for each in np.unique(names)},
    )


def _are_matched(pictures: Sequence[_Picture], model: Architecture) -> np.ndarray:
    """Say of each object, bool [N], whether an anchor stands for it; there is at least one picture."""
    return np.concatenate([model.best_overlaps(*each).numpy() for each in pictures]) >= model.matched_threshold


def _ground_truth(records: Sequence[Path | str], label_map: LabelMap) -> tf.data.Dataset:
    def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        example = parse_example(serialized, label_map)
        single = tf.logical_not(example["crowd"])
        learned = {name: tf.boolean_mask(example[name], single) for name in ("classes", "boxes")}
        return learned | {name: example[name] for name in ("height", "width")}

    return tf.data.TFRecordDataset([str(path) for path in records]).map(parse, tf.data.AUTOTUNE, deterministic=True)
