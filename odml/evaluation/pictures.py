"""The pictures in which most is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from odml.evaluation.matching import Matches
from odml.evaluation.tables import Found, Objects


@dataclass(frozen=True)
class PictureErrors:
    """What is wrong in a picture, its place in the list from 0: objects missed, and detections that are wrong.

    ``cost`` is the missed objects and the scores of the wrong detections together.
    """

    picture: int
    missed: int
    wrong: int
    cost: float


def worst_pictures(
    found: Found, objects: Objects, matches: Matches, *, score_threshold: float, limit: int
) -> list[PictureErrors]:
    """Give the pictures with the highest cost at IoU .5, worst first, none without an error.

    Args:
        score_threshold: the lowest score of a detection that counts.
        limit: how many pictures at most.
    """
    counted = found.scores >= score_threshold
    left = ~objects.ignored
    left[matches.objects[counted & matches.right_at_50]] = False
    wrong = counted & matches.wrong_at_50
    pictures = 1 + max(found.pictures.max(initial=-1), objects.pictures.max(initial=-1))
    missed = np.bincount(objects.pictures[left], minlength=pictures)
    wrong_counts = np.bincount(found.pictures[wrong], minlength=pictures)
    cost = missed + np.bincount(found.pictures[wrong], found.scores[wrong], pictures)
    worst = np.argsort(-cost, kind="stable")[:limit]
    return [
        PictureErrors(int(place), int(missed[place]), int(wrong_counts[place]), float(cost[place]))
        for place in worst
        if cost[place] > 0
    ]
