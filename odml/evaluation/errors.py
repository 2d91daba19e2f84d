"""What the errors cost: TIDE (Bolya et al. 2020, https://arxiv.org/abs/2008.08115)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from odml.evaluation.coco import interpolated
from odml.evaluation.matching import Matches
from odml.evaluation.tables import Found, Objects, overlapping

KINDS = {
    "classification": "the place is right, the class is not",
    "localisation": "the class is right, the box is not",
    "both": "neither the class nor the box is right",
    "duplicate": "the object was already found by a better detection",
    "background": "there is no object",
    "missed": "an object that no detection comes near",
}
_RIGHT_IOU, _BACKGROUND_IOU = 0.5, 0.1


@dataclass(frozen=True)
class ErrorCost:
    """How many errors of a kind there are among all detections, and what they cost.

    ``lost`` is how far mAP at IoU .5 would rise if they alone were mended, 0..1; ``share`` is its part of what all
    kinds lose, None where none loses anything.
    """

    kind: str
    count: int
    lost: float
    share: float | None


@dataclass(frozen=True)
class _Sorted:
    """What kind of error each detection is.

    ``kinds`` int8 [D] are places in ``KINDS``, -1 for what is not wrong; ``targets`` int64 [D] the objects that the
    detections would have if their class or their box were right, -1 for none.
    """

    kinds: np.ndarray
    targets: np.ndarray


def error_costs(found: Found, objects: Objects, matches: Matches) -> list[ErrorCost]:
    """Sort the errors into TIDE's six kinds and reckon what each costs; [] without objects.

    As in section 2.2 and 2.3 of the paper, a detection with the wrong class or box is mended only if no other one has
    its object, and of several the best; otherwise it goes. Duplicates, background and both go too. Objects that no
    detection could be mended to find are no longer looked for; a class of which none is then left counts as
    faultless if no detection is left either, and else as 0.
    """
    counts = matches.counts[:, 0]
    if not counts.any():
        return []
    right, wrong = matches.right_at_50, matches.wrong_at_50
    errors = _sort(found, objects, matches)
    mended = _mended(found, errors, _taken(objects, matches))
    missed = ~objects.ignored & ~_taken(objects, matches)
    missed[errors.targets[errors.targets >= 0]] = False
    now = _mean_ap(found.classes, found.scores, right, wrong, counts, counts > 0)
    classes = np.where(mended, objects.classes[errors.targets], found.classes)
    costs = {}
    for number, kind in enumerate(list(KINDS)[:-1]):
        these = errors.kinds == number
        after = _mean_ap(
            np.where(these, classes, found.classes),
            found.scores,
            right | (these & mended),
            wrong & ~these,
            counts,
            counts > 0,
        )
        costs[kind] = (int(these.sum()), max(after - now, 0.0))
    left = counts - np.bincount(objects.classes[missed] - 1, minlength=len(counts))
    after = _mean_ap(found.classes, found.scores, right, wrong, left, counts > 0)
    costs["missed"] = (int(missed.sum()), max(after - now, 0.0))
    total = sum(lost for _, lost in costs.values())
    return [ErrorCost(kind, count, lost, lost / total if total else None) for kind, (count, lost) in costs.items()]


def _taken(objects: Objects, matches: Matches) -> np.ndarray:
    taken = np.zeros(len(objects.classes), np.bool_)
    taken[matches.objects[matches.right_at_50]] = True
    return taken


def _sort(found: Found, objects: Objects, matches: Matches) -> _Sorted:
    """Give every wrong detection its kind, in the order of the paper's own code (``tidecv``)."""
    (same, same_object), (other, other_object) = _nearest(found, objects)
    conditions = {
        "localisation": (same >= _BACKGROUND_IOU) & (same < _RIGHT_IOU),
        "classification": other >= _RIGHT_IOU,
        "duplicate": same >= _RIGHT_IOU,
        "background": np.maximum(same, other) < _BACKGROUND_IOU,
        "both": np.ones(len(found), np.bool_),
    }
    number = {kind: place for place, kind in enumerate(KINDS)}
    kinds = np.select(list(conditions.values()), [np.int8(number[kind]) for kind in conditions])
    kinds = np.where(matches.wrong_at_50, kinds, np.int8(-1))
    mendable = [kinds == number["localisation"], kinds == number["classification"]]
    return _Sorted(kinds, np.select(mendable, [same_object, other_object], default=-1))


def _nearest(found: Found, objects: Objects) -> list[tuple[np.ndarray, np.ndarray]]:
    """Give the largest IoU [D], and the object [D] that has it, among those of the same class and among others."""
    nearest = [(np.zeros(len(found)), np.full(len(found), -1, np.int64)) for _ in range(2)]
    for pairs in overlapping(found, objects, at_least=_BACKGROUND_IOU, same_class=False):
        same = found.classes[pairs.found] == objects.classes[pairs.objects]
        for (ious, which), wanted in zip(nearest, (same, ~same), strict=True):
            kept = np.flatnonzero(wanted & ~objects.ignored[pairs.objects])
            order = kept[np.lexsort((-pairs.ious[kept], pairs.found[kept]))]
            rows, firsts = np.unique(pairs.found[order], return_index=True)
            ious[rows], which[rows] = pairs.ious[order[firsts]], pairs.objects[order[firsts]]
    return nearest


def _mended(found: Found, errors: _Sorted, taken: np.ndarray) -> np.ndarray:
    """Tell which detections would be right if mended: of those with the same free object the best."""
    could = np.flatnonzero(errors.targets >= 0)
    could = could[~taken[errors.targets[could]]]
    order = could[np.lexsort((-found.scores[could], errors.targets[could]))]
    _, firsts = np.unique(errors.targets[order], return_index=True)
    mended = np.zeros(len(found), np.bool_)
    mended[order[firsts]] = True
    return mended


def _mean_ap(
    classes: np.ndarray,
    scores: np.ndarray,
    right: np.ndarray,
    wrong: np.ndarray,
    counts: np.ndarray,
    counted: np.ndarray,
) -> float:
    """Give the mean of the counted classes' AP at IoU .5."""
    kept = np.flatnonzero(right | wrong)
    order = kept[np.lexsort((-scores[kept], classes[kept]))]
    numbers = np.flatnonzero(counted) + 1
    starts, ends = (np.searchsorted(classes[order], numbers, side=side) for side in ("left", "right"))
    values = []
    for number, start, end in zip(numbers, starts, ends, strict=True):
        rows, count = order[start:end], counts[number - 1]
        values.append(interpolated(right[rows], wrong[rows], count).mean() if count else float(start == end))
    return float(np.mean(values))
