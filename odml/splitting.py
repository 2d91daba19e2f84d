"""Which pictures are for training, which for validation and which for the test."""

from __future__ import annotations

import random
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

import numpy as np

from odml.errors import ConfigurationError
from odml.structures import SIDES

_BACKGROUND = frozenset({""})


def stratified_split(
    classes: Mapping[str, Collection[str]],
    *,
    val_split: float,
    test_split: float = 0,
    seed: int,
    groups: Sequence[Collection[str]] = (),
) -> dict[str, str]:
    """Split pictures so that each class has its share on all sides.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", ECML
    PKDD 2011, algorithm 1): the pictures of the rarest class are dealt out first, each to the side that still lacks
    most of that class. Other than in the paper the sides have exactly the wanted sizes: a full one gets nothing more.
    Pictures without objects are a class of their own.

    The pictures of a group are dealt out together, those of large groups first; then the sides have about the wanted
    sizes, as the groups allow: one that fits on no side goes where there is most room.

    Args:
        classes: the class names in each picture; neither their order nor the pictures' matters.
        val_split: percent of the pictures for validation, 0 to 100. If there are enough pictures, or groups, no side
            is left empty whose share is not 0.
        test_split: percent of the pictures for the test.
        seed: the same seed and pictures give the same split.
        groups: pictures that belong together, each in one group at most; the others are groups of their own.
    Returns:
        "train", "val" or "test" for each picture, in sorted order.
    Raises:
        ValueError: a share is not between 0 and 100, or they are more than 100 together.
    """
    if not (0 <= val_split <= 100 and 0 <= test_split <= 100 and val_split + test_split <= 100):
        raise ValueError(f"val_split and test_split must be 0 to 100 percent together, not {val_split}, {test_split}")
    shares = {"train": 1 - (val_split + test_split) / 100, "val": val_split / 100, "test": test_split / 100}
    return _Dealer(classes, groups, shares, seed).deal()


def group_pictures(images: Iterable[str], keys_of: Callable[[str], Collection[Hashable]]) -> list[list[str]]:
    """Give the groups of two or more pictures that share a key with one another, directly or by way of a third.

    Args:
        images: in any order.
        keys_of: gives a picture's keys; they are remembered of those pictures only that share one.
    """
    images = sorted(images)
    hashes = np.fromiter((hash(key) for image in images for key in keys_of(image)), np.int64)
    values, counts = np.unique(hashes, return_counts=True)
    shared = frozenset(values[counts > 1].tolist())
    holders: defaultdict[Hashable, list[str]] = defaultdict(list)
    keys: dict[str, list[Hashable]] = {}
    for image in images:
        if found := [key for key in keys_of(image) if hash(key) in shared]:
            keys[image] = found
            for key in found:
                holders[key].append(image)
    groups, seen = [], set()
    for image in keys:
        group: list[str] = []
        waiting = [image]
        while waiting:
            each = waiting.pop()
            if each not in seen:
                seen.add(each)
                group.append(each)
                waiting += [other for key in keys[each] for other in holders.pop(key, ())]
        if len(group) > 1:
            groups.append(sorted(group))
    return groups


def group_of(image: str, pattern: re.Pattern[str]) -> str | None:
    """Give what the pattern finds in a picture's file name, or else in its path; None if it finds nothing.

    Of a pattern with groups it is what the first one that took part has, else the whole match.
    """
    match = pattern.search(image.rpartition("/")[2]) or pattern.search(image)
    if match is None:
        return None
    return next((part for part in match.groups() if part is not None), match[0])


def compile_group_by(group_by: str) -> re.Pattern[str]:
    """Compile the regular expression; raise ConfigurationError if it is none."""
    try:
        return re.compile(group_by)
    except re.error as error:
        raise ConfigurationError(
            f"group_by: {group_by!r} is no regular expression ({error}); an example is '^(video[0-9]+)_'"
        ) from error


def _sizes(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Give how many pictures each side is to have, none of them 0 that is wanted if there are enough."""
    held_out = round(count * (shares["val"] + shares["test"]))
    sizes = {"val": min(round(count * shares["val"]), held_out)}
    sizes["test"] = held_out - sizes["val"]
    sizes["train"] = count - held_out
    wanted = [side for side in SIDES if shares[side] > 0]
    for side in wanted if count >= len(wanted) else ():
        if sizes[side] == 0:
            sizes[max(wanted, key=sizes.__getitem__)] -= 1
            sizes[side] = 1
    return sizes


class _Dealer:
    """Deals units of pictures out to the sides: groups, and pictures that are alone.

    Pictures go by their numbers in sorted order, and a unit by that of its first picture.
    """

    def __init__(
        self,
        classes: Mapping[str, Collection[str]],
        groups: Sequence[Collection[str]],
        shares: Mapping[str, float],
        seed: int,
    ) -> None:
        self._images = sorted(classes)
        known: dict[frozenset[str], int] = {}  # most pictures have one of a few sets of classes
        sets = (frozenset(classes[image]) or _BACKGROUND for image in self._images)
        self._set_of = array("I", (known.setdefault(each, len(known)) for each in sets))
        self._sets = list(known)
        self._group_of = self._numbered(groups)
        self._room = dict(_sizes(len(classes), shares))
        self._empty = {side for side in SIDES if self._room[side] > 0}
        others = {number for first, group in self._group_of.items() for number in group if number != first}
        order = array("I", (number for number in range(len(self._images)) if number not in others))
        random.Random(seed).shuffle(order)
        order = array("I", sorted(order, key=lambda unit: -len(self._pictures(unit))))
        self._units = len(order)
        names = sorted({name for each in self._sets for name in each})
        self._units_of = {name: array("I") for name in names}
        self._undealt = dict.fromkeys(names, 0)
        for unit in order:
            for name, count in self._counts(unit).items():
                self._units_of[name].append(unit)
                self._undealt[name] += count
        self._wanted = {name: {side: count * shares[side] for side in SIDES} for name, count in self._undealt.items()}

    def _numbered(self, groups: Sequence[Collection[str]]) -> dict[int, list[int]]:
        grouped = {image for group in groups for image in group}
        numbers = {image: number for number, image in enumerate(self._images) if image in grouped}
        found = (sorted(numbers[image] for image in group) for group in groups)
        return {group[0]: group for group in found}

    def _pictures(self, unit: int) -> Sequence[int]:
        return self._group_of.get(unit, (unit,))

    def _counts(self, unit: int) -> Counter[str]:
        """Count in how many pictures of a unit each class is."""
        return Counter(name for picture in self._pictures(unit) for name in self._sets[self._set_of[picture]])

    def deal(self) -> dict[str, str]:
        """Give each picture's side, in sorted order."""
        sides: list[str | None] = [None] * len(self._images)
        left = self._units
        while undealt := {name: count for name, count in self._undealt.items() if count}:
            rarest = min(undealt, key=undealt.__getitem__)
            for unit in self._units_of[rarest]:
                if sides[unit] is None:
                    side = self._side_for(unit, rarest, left)
                    for picture in self._pictures(unit):
                        sides[picture] = side
                    self._take(unit, side)
                    left -= 1
        return {image: side for image, side in zip(self._images, sides, strict=True) if side}

    def _side_for(self, unit: int, rarest: str, left: int) -> str:
        size, room, wanted = len(self._pictures(unit)), self._room, self._wanted[rarest]
        sides = [side for side in SIDES if side in self._empty] if left <= len(self._empty) else SIDES
        fitting = [side for side in sides if room[side] >= size]
        if fitting:
            return max(fitting, key=lambda side: (wanted[side], room[side]))
        return max(sides, key=room.__getitem__)

    def _take(self, unit: int, side: str) -> None:
        self._room[side] -= len(self._pictures(unit))
        self._empty.discard(side)
        for name, count in self._counts(unit).items():
            self._wanted[name][side] -= count
            self._undealt[name] -= count
