"""Heads for other classes: the columns of a class are carried over by its name.

A class head of SSD has its columns [A * (C + 1)], anchor by anchor, in each background first; that of Faster R-CNN
[C + 1]. A per-class box head of Faster R-CNN has [C * 4], class by class and no background. Box heads that all classes
share have no such columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from odml.initial_weights import coco
from odml.structures import LabelMap

_HEAD = re.compile(r"(BoxPredictor_\d+|SecondStageBoxPredictor)/(ClassPredictor|BoxEncodingPredictor)/(weights|biases)")
_SECOND_STAGE = "SecondStageBoxPredictor"
_CODE_SIZE = 4

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Classes:
    """Which class of a source each class of ours is.

    Attributes:
        names: ours.
        sources: of each of ours the number in the source, from 0; None: the source does not have it.
        count: how many the source has.
        meaningful: those of the source, from 0, that it was trained on.
        assumption: what was assumed where the source does not name its classes, in words.
    """

    names: tuple[str, ...]
    sources: tuple[int | None, ...]
    count: int
    meaningful: tuple[int, ...]
    assumption: str = ""

    @property
    def carried(self) -> tuple[str, ...]:
        """Our classes that the source has."""
        return tuple(name for name, source in zip(self.names, self.sources, strict=True) if source is not None)

    @property
    def fresh(self) -> tuple[str, ...]:
        """Our classes that the source does not have."""
        return tuple(name for name, source in zip(self.names, self.sources, strict=True) if source is None)


def match_classes(label_map: LabelMap, names: Sequence[str] | None, count: int) -> Classes:
    """Find our classes among a source's ``count`` by their names, upper or lower case.

    Names that are not as many as the source's classes are not the source's. Where the names are unknown, 90 classes
    are COCO's; as many classes as ours are taken to be ours, in our order, as in a training of the same data that is
    continued; of any other number none is ours.
    """
    if names is not None and len(names) == count:
        return _by_name(label_map, names)
    if count == len(coco.LABEL_MAP):
        return _by_name(label_map, coco.LABEL_MAP.names, assumption="its 90 classes are taken for COCO's")
    everything = tuple(range(count))
    if count == len(label_map):
        assumption = "its classes have no names; they are taken for the same classes in the same order"
        return Classes(label_map.names, everything, count, everything, assumption)
    assumption = f"its {count} classes have no names; lay its labels.pbtxt beside it to carry them over"
    return Classes(label_map.names, (None,) * len(label_map), count, everything, assumption)


def _by_name(label_map: LabelMap, names: Sequence[str], assumption: str = "") -> Classes:
    numbers = {name.casefold(): number for number, name in reversed(list(enumerate(names)))}
    return Classes(
        label_map.names,
        tuple(names.index(name) if name in names else numbers.get(name.casefold()) for name in label_map.names),
        len(names),
        tuple(number for number, name in enumerate(names) if name not in coco.UNUSED),
        assumption,
    )


def count_classes(values: Values) -> int | None:
    """Tell from its heads how many classes a network has; None if it has no heads, or no box head to tell it by."""
    classes = values.get(f"{_SECOND_STAGE}/ClassPredictor/biases")
    if classes is not None:
        return len(classes) - 1
    classes, boxes = (
        values.get(f"BoxPredictor_0/{head}/biases") for head in ("ClassPredictor", "BoxEncodingPredictor")
    )
    if classes is None or boxes is None:
        return None
    return len(classes) // (len(boxes) // _CODE_SIZE) - 1


def has_class_columns(name: str) -> bool:
    """Say whether the columns of a variable belong to classes."""
    match = _HEAD.fullmatch(name)
    return match is not None and (match[1] == _SECOND_STAGE or match[2] == "ClassPredictor")


def carry_over(name: str, fresh: np.ndarray, source: np.ndarray, classes: Classes) -> np.ndarray | None:
    """Give a head's weights [..., columns] with the columns of the classes that the source has.

    Class columns of the others stay fresh; their box columns become the mean over the source's classes, for what makes
    a box fit differs little from class to class.

    Returns:
        The new weights, shaped as ``fresh``; None if the source's head is of another shape for other reasons.
    """
    if name.split("/")[1] == "ClassPredictor":
        return _carry(fresh, source, [0, *(None if k is None else k + 1 for k in classes.sources)], classes.count + 1)
    codes = _by_class(source, classes.count, inner=_CODE_SIZE)  # [..., 1, C, 4]
    if codes is None or codes.shape[:-3] != fresh.shape[:-1]:
        return None
    mean = codes[..., list(classes.meaningful), :].mean(axis=-2, keepdims=True)
    fresh = np.broadcast_to(mean, (*mean.shape[:-2], len(classes.names), _CODE_SIZE)).reshape(fresh.shape)
    return _carry(fresh, source, classes.sources, classes.count, inner=_CODE_SIZE)


def _carry(
    fresh: np.ndarray, source: np.ndarray, sources: Sequence[int | None], count: int, *, inner: int = 1
) -> np.ndarray | None:
    new, old = _by_class(fresh, len(sources), inner=inner), _by_class(source, count, inner=inner)
    if new is None or old is None or new.shape[:-2] != old.shape[:-2]:
        return None
    ours = [k for k, number in enumerate(sources) if number is not None]
    new = new.copy()
    new[..., ours, :] = old[..., [number for number in sources if number is not None], :]
    return new.reshape(fresh.shape)


def _by_class(values: np.ndarray, count: int, *, inner: int) -> np.ndarray | None:
    """See columns [..., outer * count * inner] as [..., outer, count, inner]; None if they cannot be."""
    if values.shape[-1] % (count * inner):
        return None
    return values.reshape(*values.shape[:-1], -1, count, inner)
