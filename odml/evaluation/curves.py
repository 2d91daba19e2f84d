"""Precision, recall and F1 at IoU .5 over the score from which a detection counts, and over recall."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from odml.evaluation.coco import interpolated
from odml.evaluation.matching import Matches
from odml.evaluation.tables import Found

SCORES = np.linspace(0, 1, 201, dtype=np.float32)
"""The scores over which curves are drawn."""


@dataclass(frozen=True)
class Best:
    """The score threshold with the highest F1, the highest of several, and what it gives."""

    threshold: float
    F1: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Curves:
    """The curves of one class, or the means of several.

    ``precision``, ``recall`` and ``F1`` are float64 [201], 0..1, of the detections that score at least ``SCORES``;
    where there is none, precision is NaN. ``over_recall`` is float64 [101], the best precision at COCO's recalls .00,
    .01 to 1 or above: its mean is the average precision. ``best`` is None where nothing was right.
    """

    precision: np.ndarray
    recall: np.ndarray
    F1: np.ndarray
    over_recall: np.ndarray
    best: Best | None


def curves_of_classes(found: Found, matches: Matches) -> list[Curves | None]:
    """Reckon the curves of each class in the order of the label map, None where it has no objects."""
    order = found.by_class()
    right, wrong = matches.right_at_50[order], matches.wrong_at_50[order]
    numbers = np.arange(1, len(matches.counts) + 1)
    ends = np.searchsorted(found.classes[order], numbers, side="right").tolist()
    rows = [slice(start, end) for start, end in itertools.pairwise([0, *ends])]
    counts = matches.counts[:, 0].tolist()
    return [
        _curves(found.scores[order[part]], right[part], wrong[part], count) if count else None
        for part, count in zip(rows, counts, strict=True)
    ]


def mean_curves(of_classes: list[Curves | None]) -> Curves | None:
    """Average over the classes that have objects; None without any.

    ``best`` is that of one threshold for all classes, of those in ``SCORES``.
    """
    curves = [each for each in of_classes if each]
    if not curves:
        return None
    recall, f1, over_recall = (
        np.mean([getattr(each, name) for each in curves], axis=0) for name in ("recall", "F1", "over_recall")
    )
    precisions = np.array([each.precision for each in curves])
    known = np.isfinite(precisions)
    precision = np.divide(
        np.where(known, precisions, 0).sum(axis=0),
        known.sum(axis=0),
        out=np.full(len(SCORES), np.nan),
        where=known.any(axis=0),
    )
    return Curves(precision, recall, f1, over_recall, _best(SCORES[::-1], precision[::-1], recall[::-1], f1[::-1]))


def _curves(scores: np.ndarray, right: np.ndarray, wrong: np.ndarray, count: int) -> Curves:
    """Reckon the curves from a class's detections, the best first."""
    hits, misses = np.append(0, np.cumsum(right)), np.append(0, np.cumsum(wrong))
    taken = len(scores) - np.searchsorted(scores[::-1], SCORES, side="left")
    # Only where the score changes is there a threshold between two detections.
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1) if len(scores) else np.zeros(0, np.int64)
    return Curves(
        *_rates(hits[taken], misses[taken], count),
        interpolated(right, wrong, count),
        _best(scores[last], *_rates(hits[last + 1], misses[last + 1], count)),
    )


def _rates(hits: np.ndarray, misses: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give precision, recall and F1."""
    found = hits + misses
    precision = np.divide(hits, found, out=np.full(len(hits), np.nan), where=found > 0)
    return precision, hits / count, 2 * hits / (found + count)


def _best(scores: np.ndarray, precision: np.ndarray, recall: np.ndarray, f1: np.ndarray) -> Best | None:
    """Choose among thresholds, the highest first."""
    if not f1.any():
        return None
    at = int(np.argmax(f1))
    threshold = float(str(scores[at]))  # 0.9, and not the double that is nearest to the float32
    return Best(threshold, float(f1[at]), float(precision[at]), float(recall[at]))
