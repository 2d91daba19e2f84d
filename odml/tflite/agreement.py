"""Does a TensorFlow Lite file give what its network gives?

Compared are the candidates, each anchor's box and scores, of which detections are chosen: from there on a small
difference can lead to another choice. That the file's detections are some of its own candidates, the best of them
first, holds or does not, however the candidates were computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

from odml.architectures import SSD
from odml.errors import ExportError
from odml.forms.tflite import interpreter
from odml.postprocessing import decode
from odml.tflite.conversion import postprocess_operation

# Of each picture: boxes of anchors that see background say nothing of detections.
_COMPARED_BOXES = 10
# Of detections from their candidates: anchors of 16 bits give some 0.0005, those of another network far more.
_ROUNDING = 0.005


@dataclass(frozen=True)
class Difference:
    """How far a file is from its network, at most.

    ``score`` is that of all anchors and classes, background included; ``box``, 0..1 of the picture, that of the ten
    anchors which score best in the network, picture by picture.
    """

    score: float
    box: float


@dataclass(frozen=True)
class _Candidates:
    """Boxes [A, 4] yxyx, 0..1 of the picture, and scores [A, C + 1], background first."""

    boxes: np.ndarray
    scores: np.ndarray


def check(
    name: str, content: bytes, network: SSD, pictures: Sequence[np.ndarray], *, tolerance: float | None
) -> Difference:
    """Run a file, and the network it was made of, on the CPU, and compare them.

    Args:
        name: of the file, for messages.
        pictures: uint8 [1, H, W, 3] of the network's input size, at least one.
        tolerance: of scores and boxes; None for any.
    Raises:
        ExportError: they differ by more than the tolerance, or the file's detections are not of its candidates.
    """
    loaded = _load(content)
    differences = []
    with tf.device("/CPU:0"):
        for picture in map(tf.constant, pictures):
            raw = network.detect(picture)
            expected = _Candidates(raw["raw_detection_boxes"][0].numpy(), raw["raw_detection_scores"][0].numpy())
            *detections, codes, scores = _run(loaded, network, picture)
            actual = _Candidates(decode(codes, network.anchors).numpy(), scores)
            threshold = network.configuration.detection.score_threshold
            if not _astray(detections, actual, threshold=threshold) <= _ROUNDING:
                raise ExportError(f"{name}: gives detections that its network does not; do not use it, and report this")
            differences.append(_compare(expected, actual))
    # numpy's maximum: of numbers one of which is none, it is none.
    found = Difference(*np.max([(each.score, each.box) for each in differences], axis=0).tolist())
    if tolerance is not None and not (found.score <= tolerance and found.box <= tolerance):
        raise ExportError(
            f"{name}: differs from its checkpoint, in scores by {found.score:.2g} and in boxes by {found.box:.2g}; "
            "do not use it, and report this"
        )
    return found


def _load(content: bytes) -> Any:
    """Load a file so that it gives, after its four outputs, the codes [1, A, 4] and scores they are made of."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    operation = postprocess_operation(model)
    model.subgraphs[0].outputs = [*operation.outputs, *operation.inputs[:2]]
    return interpreter(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))


def _run(loaded: Any, network: SSD, picture: tf.Tensor) -> list[np.ndarray]:
    (given,) = loaded.get_input_details()
    loaded.set_tensor(given["index"], picture if given["dtype"] == np.uint8 else network.preprocess(picture))
    loaded.invoke()
    return [loaded.get_tensor(output["index"])[0] for output in loaded.get_output_details()]


def _astray(detections: Sequence[np.ndarray], candidates: _Candidates, *, threshold: float) -> float:
    """Give how far any detection is from the candidate most like it, or the first from the best candidate."""
    boxes, classes, scores, count = detections
    rows = slice(int(count))
    of_class = candidates.scores.T[1 + classes[rows].astype(int)]  # [N, A]
    apart = np.maximum(
        np.abs(boxes[rows, None] - candidates.boxes).max(axis=-1), np.abs(scores[rows, None] - of_class)
    )  # [N, A]
    best = candidates.scores[:, 1:].max()
    missed = best - scores[rows].max(initial=0) if best > threshold else 0
    return np.maximum(apart.min(axis=1).max(initial=0), missed)


def _compare(expected: _Candidates, actual: _Candidates) -> Difference:
    best = np.argsort(expected.scores[:, 1:].max(axis=1))[-_COMPARED_BOXES:]
    return Difference(
        score=float(np.abs(expected.scores - actual.scores).max()),
        box=float(np.abs(expected.boxes[best] - actual.boxes[best]).max()),
    )
