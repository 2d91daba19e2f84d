"""Does an exported graph give what its network gives?

Two runtimes round differently, and a deep network makes more of it: what the network gives before suppression must
agree within a tolerance. Suppression turns such differences into other choices wherever candidates score alike, so a
detection counts here only if no other candidate of its picture scores as near to it as the two runtimes do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as v1

from odml.errors import ExportError
from odml.export.freezing import INPUT, OUTPUTS, Detect

# Of boxes (0..1 of the picture; of a coordinate itself where that is more) and scores. A trained SSD differs by some
# 1e-5 and one of random weights by up to 1e-3; a graph that computes something else, by far more.
TOLERANCE = 1e-3
_ROUNDING = 1e-6
_LEAST_MATCHED = 0.9

Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Parity:
    """How far an exported graph is from its network.

    ``raw_difference`` is the largest difference of boxes and scores before suppression (None if the network does
    not give them); of the ``compared`` detections, those whose score stands alone, ``matched`` are in both.
    """

    raw_difference: float | None
    compared: int
    matched: int


def check(graph: Path, detect: Detect, batches: Sequence[np.ndarray]) -> Parity:
    """Compare a frozen graph's file, run in a plain Session, with the network it was made of; both on the CPU.

    Args:
        batches: uint8 [N, H, W, 3] each.
    Raises:
        ExportError: they differ by more than rounding.
    """
    with tf.device("/CPU:0"):
        expected = [{name: value.numpy() for name, value in detect(tf.constant(batch)).items()} for batch in batches]
    if not all(np.isfinite(values).all() for tensors in expected for values in tensors.values()):
        raise ExportError(
            "checkpoint: the network gives values that are not finite; export an earlier step, or train again"
            " with a lower learning rate"
        )
    parity = _compare(expected, _run(graph, list(expected[0]), batches))
    if (parity.raw_difference or 0) > TOLERANCE or parity.matched < _LEAST_MATCHED * parity.compared:
        raise ExportError(
            f"{graph.name}: differs from its checkpoint, by {parity.raw_difference} before suppression and in"
            f" {parity.compared - parity.matched} of {parity.compared} detections; do not use it, and report this"
        )
    return parity


def _run(path: Path, names: list[str], batches: Sequence[np.ndarray]) -> list[Tensors]:
    graph = v1.GraphDef.FromString(path.read_bytes())
    with v1.Session(graph=tf.Graph(), config=v1.ConfigProto(device_count={"GPU": 0})) as session:
        tf.graph_util.import_graph_def(graph, name="")
        fetches = {name: f"{name}:0" for name in names}
        return [session.run(fetches, {f"{INPUT}:0": batch}) for batch in batches]


def _compare(expected: Sequence[Tensors], actual: Sequence[Tensors]) -> Parity:
    pairs = list(zip(expected, actual, strict=True))
    raw = [_difference(want[name], have[name]) for want, have in pairs for name in want if name.startswith("raw_")]
    apart = 2 * max(raw, default=TOLERANCE) + _ROUNDING
    counts = [
        _match(_picture(want, index), _picture(have, index), apart=apart)
        for want, have in pairs
        for index in _indices(want)
    ]
    compared, matched = np.sum(counts, axis=0)
    return Parity(max(raw, default=None), int(compared), int(matched))


def _difference(expected: np.ndarray, actual: np.ndarray) -> float:
    """Give the largest difference, of the value itself where that is above 1."""
    return float(np.max(np.abs(expected - actual) / np.maximum(np.abs(expected), 1), initial=0))


def _indices(tensors: Tensors) -> range:
    return range(len(tensors["num_detections"]))


def _picture(tensors: Tensors, index: int) -> Tensors:
    """Give one picture's detections, without padding, and ``candidates``: all scores that took part, sorted."""
    count = int(tensors["num_detections"][index])
    found = {name: tensors[name][index][:count] for name in OUTPUTS[1:]}
    raw = tensors.get("raw_detection_scores")
    candidates = found["detection_scores"] if raw is None else raw[index][:, 1:]
    return found | {"candidates": np.sort(candidates, axis=None)}


def _match(expected: Tensors, actual: Tensors, *, apart: float) -> tuple[int, int]:
    """Give how many detections of ``expected`` stand alone by ``apart``, and how many of these ``actual`` has too."""
    candidates, scores = expected["candidates"], expected["detection_scores"]
    near = np.searchsorted(candidates, scores + apart) - np.searchsorted(candidates, scores - apart)
    alone = np.flatnonzero(near == 1)
    same = (
        (expected["detection_classes"][alone, None] == actual["detection_classes"][None])
        & (np.abs(scores[alone, None] - actual["detection_scores"][None]) <= TOLERANCE)
        & (np.abs(expected["detection_boxes"][alone, None] - actual["detection_boxes"][None]) <= TOLERANCE).all(-1)
    )  # [alone, found]
    return len(alone), int(same.any(axis=1).sum())
