"""Which classes are taken for which, background among them."""

from __future__ import annotations

import numpy as np

from odml.evaluation.matching import Matches
from odml.evaluation.tables import Found, Objects, Pairs, overlapping


def confusion_matrix(found: Found, objects: Objects, matches: Matches, *, score_threshold: float) -> np.ndarray:
    """Count objects by their class and by the class that they are detected as, at IoU .5.

    Detections that are right take their objects. Of the others and the objects that are left, those that overlap most
    belong together, one to one, whatever their classes are. What is then left are objects that were missed and
    detections of background. Objects that need not be found, and detections of them, do not count.

    Args:
        score_threshold: the lowest score of a detection that counts.
    Returns:
        int64 [K + 1, K + 1]: a row for the class of each object, a column for what it was detected as, both in the
        order of the label map with background last: its column are the missed objects, its row are detections where
        there is no object.
    """
    classes = len(matches.counts)
    counted = found.scores >= score_threshold
    right = counted & matches.right_at_50
    left_objects = ~objects.ignored
    left_objects[matches.objects[right]] = False
    wrong = np.flatnonzero(counted & matches.wrong_at_50)
    confused, confused_objects = _pair_off(found, objects, wrong, left_objects)
    missed = np.setdiff1d(np.flatnonzero(left_objects), confused_objects)
    background = np.setdiff1d(wrong, confused)
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(matrix, (found.classes[right] - 1, found.classes[right] - 1), 1)
    np.add.at(matrix, (objects.classes[confused_objects] - 1, found.classes[confused] - 1), 1)
    np.add.at(matrix, (objects.classes[missed] - 1, classes), 1)
    np.add.at(matrix, (classes, found.classes[background] - 1), 1)
    return matrix


def _pair_off(found: Found, objects: Objects, wrong: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the detections, of these rows, and objects, of those that are left, that belong together."""
    some = Found(*(getattr(found, name)[wrong] for name in ("pictures", "classes", "boxes", "scores", "ranks")))
    parts = [
        Pairs(pairs.found[free], pairs.objects[free], pairs.ious[free])
        for pairs in overlapping(some, objects, at_least=0.5, same_class=False)
        for free in [left[pairs.objects]]
    ]
    rows, there, ious = (
        np.concatenate([getattr(part, name) for part in parts] or [np.zeros(0, np.int64)])
        for name in ("found", "objects", "ious")
    )
    together: dict[int, int] = {}
    taken: set[int] = set()
    for pair in np.argsort(-ious, kind="stable"):
        row, one = int(rows[pair]), int(there[pair])
        if row not in together and one not in taken:
            together[row] = one
            taken.add(one)
    return wrong[np.array(list(together), np.int64)], np.array(list(together.values()), np.int64)
