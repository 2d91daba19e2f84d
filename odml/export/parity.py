"""Does an exported graph, in whatever form, give what its network gives?

Two runtimes round differently, and a deep network makes more of it: what the network gives before suppression, its
rows, must agree within a tolerance. Suppression turns such differences into other choices wherever candidates score
alike, so a detection counts here only if no other candidate of its picture scores as near to it as the two runtimes do.

The rows of a single-shot detector are its anchors, always the same: they are compared one by one (``ANCHORS``). Those
of a two-stage detector are proposals, which a suppression has chosen: where objectness is nearly the same, runtimes
choose or order them differently. There each row looks for its like (``PROPOSALS``), and not all have to find one. A row
is like another if all of its coordinates and all of its scores agree, and each serves only once: a graph that computes
something else has next to none, be it wrong in the first stage, whose boxes then are elsewhere, or in the second. A
graph that is right loses only what hangs on near ties: of 900 rows of weights made by rule, none, neither here nor in
TensorFlow 1.15. Half, in every single picture, is far from both. Padding is left out: it is alike in any graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from odml import forms
from odml.errors import ExportError
from odml.export.freezing import OUTPUTS, Detect

# Of boxes (0..1 of the picture; of a coordinate itself where that is more) and scores. A trained SSD differs by some
# 1e-5 and one of random weights by up to 1e-3; a graph that computes something else, by far more.
TOLERANCE = 1e-3
_ROUNDING = 1e-6
_LEAST_MATCHED = 0.9

Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Parity:
    """How far an exported graph is from its network.

    Of the ``rows`` before suppression (0 if the network does not give them) ``paired`` have a like in the graph, and
    ``raw_difference`` is the largest difference between two that are compared (None if none are). Of the ``compared``
    detections, those whose score stands alone, ``matched`` are in both.
    """

    raw_difference: float | None
    rows: int
    paired: int
    compared: int
    matched: int


@dataclass(frozen=True)
class Pairing:
    """Which row of the graph a row of the network is compared with, and what share of a picture's rows must agree.

    ``differences`` takes the rows [R, 4 + C + 1] of the network and of the graph for one picture and gives the
    difference [R] of each row of the network: NaN for padding, infinite if the graph has nothing like it. For rows
    that the graph has too many, an infinite one each follows.
    """

    differences: Callable[[np.ndarray, np.ndarray], np.ndarray]
    least_share: float


def _in_place(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    return _difference(expected, actual)


def _nearest(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    present, free = _has_area(expected), _has_area(actual)
    found = np.full(len(expected), np.nan)
    surplus = max(0, int(free.sum()) - int(present.sum()))
    for row in np.flatnonzero(present):
        differences = np.where(free, _difference(expected[row], actual), np.inf)
        nearest = np.argmin(differences)
        is_like = differences[nearest] <= TOLERANCE
        found[row] = differences[nearest] if is_like else np.inf
        free[nearest] &= not is_like
    return np.append(found, np.full(surplus, np.inf))


def _has_area(rows: np.ndarray) -> np.ndarray:
    """Say of each row whether it is of a proposal: padding is a box without area, whatever the network makes of it."""
    return (rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1])


def _difference(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Give the largest difference in each row, of the value itself where that is above 1."""
    with np.errstate(invalid="ignore"):
        differences = np.abs(expected - actual) / np.maximum(np.abs(expected), 1)
    return np.nan_to_num(differences, nan=np.inf).max(axis=-1, initial=0)


ANCHORS = Pairing(_in_place, least_share=1.0)
PROPOSALS = Pairing(_nearest, least_share=0.5)


def check(
    name: str, graph: forms.Detect, detect: Detect, batches: Sequence[np.ndarray], *, pairing: Pairing = ANCHORS
) -> Parity:
    """Compare an exported graph, as ``odml.forms`` reads it, with the network it was made of; both on the CPU.

    Args:
        name: of its file, for messages.
        batches: uint8 [N, H, W, 3] each.
        pairing: what the rows before suppression are.
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
    actual = _run(graph, batches)
    pictures = [
        (_picture(want, index), _picture(have, index))
        for want, have in zip(expected, actual, strict=True)
        for index in range(len(want["num_detections"]))
    ]
    differences = [pairing.differences(want["rows"], have["rows"]) for want, have in pictures]
    parity = _summarize(pictures, differences)
    shares = [np.mean(each[~np.isnan(each)] <= TOLERANCE) for each in differences if not np.isnan(each).all()]
    if min(shares, default=1.0) < pairing.least_share or parity.matched < _LEAST_MATCHED * parity.compared:
        raise ExportError(
            f"{name}: differs from its checkpoint, in {parity.rows - parity.paired} of {parity.rows} rows before"
            f" suppression (by {parity.raw_difference}) and in {parity.compared - parity.matched} of {parity.compared}"
            " detections; do not use it, and report this"
        )
    return parity


def _run(graph: forms.Detect, batches: Sequence[np.ndarray]) -> list[Tensors]:
    with tf.device("/CPU:0"):
        return [{name: np.asarray(value) for name, value in graph(batch).items()} for batch in batches]


def _picture(tensors: Tensors, index: int) -> Tensors:
    """Give one picture's detections, without padding, and its ``rows`` [R, 4 + C + 1] of box and scores."""
    count = int(tensors["num_detections"][index])
    found = {name: tensors[name][index][:count] for name in OUTPUTS[1:]}
    if "raw_detection_boxes" not in tensors:
        return found | {"rows": np.zeros((0, 4 + 2), np.float32)}
    return found | {"rows": np.hstack([tensors[f"raw_detection_{kind}"][index] for kind in ("boxes", "scores")])}


def _summarize(pictures: Sequence[tuple[Tensors, Tensors]], differences: Sequence[np.ndarray]) -> Parity:
    every = np.concatenate(differences)
    largest = max(every[np.isfinite(every)], default=None)
    apart = 2 * (TOLERANCE if largest is None else largest) + _ROUNDING
    counts = [
        _match(want, have, is_paired=each[: len(want["rows"])] <= TOLERANCE, apart=apart)
        for (want, have), each in zip(pictures, differences, strict=True)
    ]
    compared, matched = np.sum(counts, axis=0)
    return Parity(
        raw_difference=None if largest is None else float(largest),
        rows=int(np.sum(~np.isnan(every))),
        paired=int(np.sum(every <= TOLERANCE)),
        compared=int(compared),
        matched=int(matched),
    )


def _match(expected: Tensors, actual: Tensors, *, is_paired: np.ndarray, apart: float) -> tuple[int, int]:
    """Give how many detections of ``expected`` can be compared, and how many of these ``actual`` has too.

    Can be compared: of the candidates only one scores within ``apart`` of it, and the graph has that row too.
    """
    scores = expected["detection_scores"]
    if len(expected["rows"]):
        candidates = expected["rows"][:, 5:]
        is_alone = _near(scores, candidates, apart) == _near(scores, candidates[is_paired], apart)
    else:
        candidates, is_alone = scores, np.full(len(scores), True)
    alone = np.flatnonzero(is_alone & (_near(scores, candidates, apart) == 1))
    same = (
        (expected["detection_classes"][alone, None] == actual["detection_classes"][None])
        & (np.abs(scores[alone, None] - actual["detection_scores"][None]) <= TOLERANCE)
        & (np.abs(expected["detection_boxes"][alone, None] - actual["detection_boxes"][None]) <= TOLERANCE).all(-1)
    )  # [alone, found]
    return len(alone), int(same.any(axis=1).sum())


def _near(scores: np.ndarray, candidates: np.ndarray, apart: float) -> np.ndarray:
    """Count the candidates within ``apart`` of each score."""
    ordered = np.sort(candidates, axis=None)
    return np.searchsorted(ordered, scores + apart) - np.searchsorted(ordered, scores - apart)
