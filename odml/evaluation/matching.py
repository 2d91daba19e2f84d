"""Which detection is right about which object, as COCO's evaluation decides it (pycocotools' ``evaluateImg``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from odml.evaluation.tables import Found, Objects, Pairs, areas, overlapping

IOUS = np.linspace(0.5, 0.95, 10)
SIZES = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
"""Sizes of objects -> their smallest and largest area in pixels."""

_BITS = (1 << np.arange(len(IOUS))).astype(np.uint16)


@dataclass(frozen=True)
class Matches:
    """What became of every detection.

    A detection is right about an object, wrong, or, if its object need not be found or has another size, or it has none
    and another size itself, neither. ``right`` and ``wrong`` are uint16 [D, size], a bit for each of ``IOUS``, in the
    order of ``SIZES``; ``objects`` int32 [D] is the object that the detection has at IoU .5, of all sizes, also one
    that need not be found, -1 if it has none. ``counts`` int64 [K, size] are the objects to be found of each class.
    """

    right: np.ndarray
    wrong: np.ndarray
    objects: np.ndarray
    counts: np.ndarray

    def at(self, bits: np.ndarray, size: int) -> np.ndarray:
        """Give ``right`` or ``wrong``, or rows of them, for a size: bool [IoU, D]."""
        return (bits[:, size] & _BITS[:, None]) > 0

    @property
    def right_at_50(self) -> np.ndarray:
        """Tell which detections are right at IoU .5, of all sizes: bool [D]."""
        return (self.right[:, 0] & 1).astype(np.bool_)

    @property
    def wrong_at_50(self) -> np.ndarray:
        """Tell which detections are wrong at IoU .5, of all sizes: bool [D]."""
        return (self.wrong[:, 0] & 1).astype(np.bool_)


def match(found: Found, objects: Objects, *, classes: int) -> Matches:
    """Match detections with objects of their class.

    The best detection of a class in a picture chooses first, at each IoU the object that it overlaps most and that
    no better one has; one that need not be found only if there is no other, and that may be chosen again.
    """
    limits = np.array(list(SIZES.values()), np.float64)
    ignored = objects.ignored[:, None] | _outside(objects.boxes, limits)  # [G, size]
    right = np.zeros((len(found), len(SIZES)), np.uint16)
    passed = np.zeros_like(right)
    chosen = np.full(len(found), -1, np.int32)
    taken = np.zeros((len(objects.classes), len(SIZES), len(IOUS)), np.bool_)
    for pairs in overlapping(found, objects, at_least=IOUS[0], same_class=True):
        for turn in _turns(pairs, found):
            _choose(turn, objects.ignored, ignored, taken, right, passed, chosen)
    none = ~(right | passed) & np.uint16(_BITS.sum())
    wrong = np.where(_outside(found.boxes, limits), np.uint16(0), none)
    counts = [np.bincount(objects.classes[~column] - 1, minlength=classes) for column in ignored.T]
    return Matches(right, wrong, chosen, np.stack(counts, axis=1))


def _outside(boxes: np.ndarray, limits: np.ndarray) -> np.ndarray:
    area = areas(boxes)[:, None]
    return (area < limits[:, 0]) | (area > limits[:, 1])


def _turns(pairs: Pairs, found: Found) -> list[Pairs]:
    """Sort the pairs by turns: in each, every class of a picture has its next detection choose."""
    if not len(pairs.found):
        return []
    rows, inverse = np.unique(pairs.found, return_inverse=True)
    new_group = (np.diff(found.pictures[rows], prepend=-1) != 0) | (np.diff(found.classes[rows], prepend=-1) != 0)
    begins = np.flatnonzero(new_group)
    turns = (np.arange(len(rows)) - np.repeat(begins, np.diff(begins, append=len(rows))))[inverse]
    order = np.argsort(turns, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(turns))[:-1])
    return [Pairs(pairs.found[part], pairs.objects[part], pairs.ious[part]) for part in parts]


def _choose(
    turn: Pairs,
    again: np.ndarray,
    ignored: np.ndarray,
    taken: np.ndarray,
    right: np.ndarray,
    passed: np.ndarray,
    chosen: np.ndarray,
) -> None:
    """Let each detection of a turn choose, at every size and IoU, and note it in the last four arrays."""
    begins = np.flatnonzero(np.diff(turn.found, prepend=-1))
    counts = np.diff(begins, append=len(turn.found))
    # The larger its place, the rather an object is chosen; of objects that overlap alike COCO takes the last.
    order = np.lexsort((turn.ious, turn.found))
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order)) - np.repeat(begins, counts) + 1
    preference = places[:, None] + np.where(ignored[turn.objects], 0, len(order) + 1)  # [P, size]
    free = (turn.ious[:, None] >= IOUS)[:, None, :] & (~taken[turn.objects] | again[turn.objects, None, None])
    wish = np.where(free, preference[:, :, None], 0)  # [P, size, IoU]
    best = np.maximum.reduceat(wish, begins, axis=0)
    choice = free & (wish == np.repeat(best, counts, axis=0))
    taken[turn.objects] |= choice
    rows = turn.found[begins]
    right[rows] = (best > len(order)) @ _BITS
    passed[rows] = ((best > 0) & (best <= len(order))) @ _BITS
    pair, at_50 = np.arange(len(order)), choice[:, 0, 0]
    chosen[turn.found[pair[at_50]]] = turn.objects[pair[at_50]]
