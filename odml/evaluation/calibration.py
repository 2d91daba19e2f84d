"""Whether a score is the chance of being right (Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from odml.evaluation.matching import Matches
from odml.evaluation.tables import Found

BINS = 10
LEAST_SCORE = 0.05
"""Detections below it do not count: nobody uses them, and there are so many that they would hide the others."""


@dataclass(frozen=True)
class Calibration:
    """How well scores foretell precision at IoU .5, in ten bins of equal width.

    ``counts`` int64 [10] are the detections of a bin, ``scores`` and ``precision`` float64 [10] their mean score and
    the share that is right, NaN in an empty bin. ``error`` is the expected calibration error, 0..1: the mean distance
    of the two, weighted by the counts.
    """

    counts: np.ndarray
    scores: np.ndarray
    precision: np.ndarray
    error: float


def calibrate(found: Found, matches: Matches) -> Calibration | None:
    """Compare the scores from .05 on with the precision; None without such detections.

    Detections that are neither right nor wrong do not count.
    """
    right = matches.right_at_50
    counted = (right | matches.wrong_at_50) & (found.scores >= LEAST_SCORE)
    if not counted.any():
        return None
    scores = found.scores[counted].astype(np.float64)
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    mean_scores, precision = (
        np.divide(np.bincount(bins, values, BINS), counts, out=np.full(BINS, np.nan), where=counts > 0)
        for values in (scores, right[counted])
    )
    error = float(np.nansum(np.abs(mean_scores - precision) * counts) / counts.sum())
    return Calibration(counts, mean_scores, precision, error)
