"""Which pictures are for training and which for validation."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Mapping

SIDES = ("train", "val")
_BACKGROUND = ""


def stratified_split(classes: Mapping[str, Collection[str]], *, val_split: float, seed: int) -> dict[str, str]:
    """Split pictures so that each class has its share on both sides.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", ECML
    PKDD 2011, algorithm 1): the pictures of the rarest class are dealt out first, each to the side that still lacks
    most of that class. Other than in the paper the sides have exactly the wanted sizes: a full one gets nothing more.
    Pictures without objects are a class of their own.

    Args:
        classes: the class names in each picture; neither their order nor the pictures' matters.
        val_split: percent of the pictures for validation, 0 to 100. Of two or more pictures, neither side is left
            empty unless it is 0 or 100.
        seed: the same seed and pictures give the same split.
    Returns:
        "train" or "val" for each picture, in sorted order.
    Raises:
        ValueError: ``val_split`` is not between 0 and 100.
    """
    if not 0 <= val_split <= 100:
        raise ValueError(f"val_split must be from 0 to 100 percent, not {val_split}")
    images = sorted(classes)
    val_room = _val_size(len(images), val_split)
    room = {"train": float(len(images) - val_room), "val": float(val_room)}
    split = _deal(_pictures_of_classes(classes, seed), classes, room, share=val_split / 100)
    return {image: split[image] for image in images}


def _val_size(count: int, val_split: float) -> int:
    size = round(count * val_split / 100)
    return min(max(size, 1), count - 1) if count >= 2 and 0 < val_split < 100 else size


def _pictures_of_classes(classes: Mapping[str, Collection[str]], seed: int) -> dict[str, list[str]]:
    """List each class' pictures, in an order that the seed draws."""
    images = sorted(classes)
    random.Random(seed).shuffle(images)
    pictures = defaultdict(list)
    for image in images:
        for name in set(classes[image]) or {_BACKGROUND}:
            pictures[name].append(image)
    return dict(sorted(pictures.items()))


def _deal(
    pictures: dict[str, list[str]], classes: Mapping[str, Collection[str]], room: dict[str, float], *, share: float
) -> dict[str, str]:
    """Give each picture its side; ``room`` is how many pictures each side still takes, and is used up."""
    wanted = {name: {"train": len(of) * (1 - share), "val": len(of) * share} for name, of in pictures.items()}
    undealt = {name: len(of) for name, of in pictures.items()}
    split: dict[str, str] = {}
    while undealt:
        rarest = min(undealt, key=undealt.__getitem__)
        for image in (image for image in pictures[rarest] if image not in split):
            side = max(SIDES, key=lambda side: (room[side] > 0, wanted[rarest][side], room[side]))
            split[image] = side
            room[side] -= 1
            for name in set(classes[image]) or {_BACKGROUND}:
                wanted[name][side] -= 1
                undealt[name] -= 1
        undealt = {name: left for name, left in undealt.items() if left}
    return split
