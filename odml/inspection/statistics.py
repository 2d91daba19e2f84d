"""What a set holds in numbers: classes, sizes, shapes, and what of that makes it hard to learn from."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from odml.boxes import area
from odml.structures import Annotation

SELDOM = 20  # objects: a class with fewer has hardly any to learn from once some are kept for validation
MATCH_MORE = (
    "give a YAML file that extends the model with anchors of their sizes and shapes; for small ones with image_size: "
    "[416, 416] and anchors: {min_scale: 0.07, reduce_boxes_in_lowest_layer: false}, or Faster R-CNN with more min_side"
)
FEW_MATCHED = 0.5  # share of objects with an anchor, below which the advice to change the model is worth a line

# Areas in pixels, as the COCO evaluation has them.
_MEDIUM, _LARGE = 32**2, 96**2
_DIGEST_LENGTH = 64
_CELLS = 40  # a side, of the grid on the pictures


@dataclass(frozen=True)
class ClassStatistics:
    """One class: in how many pictures, how many objects, and of these how many of each COCO size and flag."""

    images: int
    objects: int
    small: int
    medium: int
    large: int
    truncated: int
    difficult: int


@dataclass(frozen=True)
class AnchorMatch:
    """The share, 0..1, of the objects that overlap a model's anchor by at least ``threshold``, in all and by class."""

    model: str
    threshold: float
    share: float
    of_class: Mapping[str, float]


@dataclass(frozen=True)
class Statistics:
    """A set in numbers.

    Of the N objects, ``sizes`` float32 [N, 2] are widths and heights in pixels; ``places`` int [40, 40] say how many of
    them cover each cell of a grid on their pictures. Of the M pictures, ``image_sizes`` int [M, 2] are widths and
    heights, ``objects_per_image`` int [M]. ``doubles`` pictures show the same as another. Classes are sorted, the most
    frequent first.
    """

    classes: dict[str, ClassStatistics]
    sizes: np.ndarray
    places: np.ndarray
    image_sizes: np.ndarray
    objects_per_image: np.ndarray
    doubles: int = 0
    anchors: AnchorMatch | None = field(default=None)

    @property
    def aspect_ratios(self) -> np.ndarray:
        """Width over height [N]."""
        return self.sizes[:, 0] / self.sizes[:, 1]

    def total(self, count: str) -> int:
        """Sum a field of ClassStatistics over the classes."""
        return sum(getattr(each, count) for each in self.classes.values())

    def share(self, count: str) -> float:
        """Give the share, 0..1, of the objects that a field of ClassStatistics counts; 0 if there is no object."""
        return self.total(count) / max(1, len(self.sizes))

    def metrics(self) -> dict[str, float | None]:
        """Give the numbers by which sets are compared; None for what there is not."""
        shares = {f"data/{name}_share": self.share(name) for name in _SHARES}
        return {
            "data/annotated_images": len(self.image_sizes),
            "data/annotated_objects": len(self.sizes),
            "data/classes": len(self.classes),
            "data/seldom_classes": len(self.seldom()),
            "data/empty_images": int(np.sum(self.objects_per_image == 0)),
            "data/duplicate_images": self.doubles,
            "data/objects_per_image": float(self.objects_per_image.mean()) if len(self.objects_per_image) else None,
            **(shares if len(self.sizes) else {}),
            "data/matched_by_anchors": self.anchors.share if self.anchors else None,
        }

    def class_table(self) -> list[dict[str, str | int | float]]:
        """Give a row for each class."""
        rows: list[dict[str, str | int | float]] = []
        of_class = self.anchors.of_class if self.anchors else {}
        for name, of in self.classes.items():
            matched = {"matched_by_anchors": round(of_class[name], 3)} if name in of_class else {}
            rows.append({"class": name, **vars(of), **matched})
        return rows

    def seldom(self) -> dict[str, int]:
        """Give the classes with fewer than SELDOM objects, and how many they have."""
        return {name: of.objects for name, of in self.classes.items() if of.objects < SELDOM}

    def hardly_matched(self) -> dict[str, float]:
        """Give the classes of whose objects less than FEW_MATCHED have an anchor, and that share."""
        of_class = self.anchors.of_class if self.anchors else {}
        return {name: of_class[name] for name in self.classes if of_class.get(name, 1.0) < FEW_MATCHED}

    def advice(self) -> list[str]:
        """Say in a line each what a user should know before training."""
        lines = []
        if seldom := self.seldom():
            named = ", ".join(f"{name} ({objects})" for name, objects in sorted(seldom.items()))
            lines.append(f"classes with fewer than {SELDOM} objects: {named}; they are hard to learn, add pictures")
        if self.doubles:
            lines.append(
                f"{self.doubles} of {len(self.image_sizes)} pictures show the same as another; remove them, they count "
                "double"
            )
        if self.anchors and (few := self.hardly_matched()):
            named = ", ".join(f"{name} ({share:.0%})" for name, share in few.items())
            lines.append(
                f"classes of which less than half overlap an anchor of {self.anchors.model} by "
                f"{self.anchors.threshold} or more: {named}; the rest is hard to learn, {MATCH_MORE}"
            )
        return lines


_SHARES = ("small", "medium", "large", "truncated", "difficult")


def summarize(
    annotations: Iterable[Annotation], *, digests: Mapping[Path, str], anchors: AnchorMatch | None = None
) -> Statistics:
    """Count what the annotations hold, one after the other: they need not be in memory together.

    Args:
        annotations: any number, none included.
        digests: what each picture shows, as ``Inspection.digests``.
        anchors: what is known about a model's anchors.
    """
    classes: dict[str, Counter[str]] = {}
    sizes, image_sizes, objects_per_image, shown = array("f"), array("I"), array("I"), bytearray()
    corners = np.zeros((_CELLS + 2, _CELLS + 2), np.int64)
    for annotation in annotations:
        _count(annotation, classes)
        _add_corners(annotation, corners)
        sizes.frombytes((annotation.boxes[:, 2:] - annotation.boxes[:, :2]).astype(np.float32).tobytes())
        image_sizes.extend((annotation.width, annotation.height))
        objects_per_image.append(len(annotation.names))
        shown += digests[annotation.image].encode().ljust(_DIGEST_LENGTH)
    fields = ClassStatistics.__dataclass_fields__
    order = sorted(classes, key=lambda name: (-classes[name]["objects"], name))
    return Statistics(
        classes={name: ClassStatistics(**{each: classes[name][each] for each in fields}) for name in order},
        sizes=np.frombuffer(sizes, np.float32).reshape(-1, 2),
        places=corners.cumsum(axis=0).cumsum(axis=1)[:_CELLS, :_CELLS],
        image_sizes=np.frombuffer(image_sizes, np.uint32).reshape(-1, 2),
        objects_per_image=np.frombuffer(objects_per_image, np.uint32),
        doubles=len(objects_per_image) - len(np.unique(np.frombuffer(shown, f"S{_DIGEST_LENGTH}"))),
        anchors=anchors,
    )


def _count(annotation: Annotation, classes: dict[str, Counter[str]]) -> None:
    """Add the objects of a picture to the counts of their classes."""
    assert annotation.truncated is not None  # an Annotation fills both in
    assert annotation.difficult is not None
    for name in set(annotation.names):
        classes.setdefault(name, Counter())["images"] += 1
    rows = zip(annotation.names, area(annotation.boxes), annotation.truncated, annotation.difficult, strict=True)
    for name, pixels, truncated, difficult in rows:
        size = "small" if pixels < _MEDIUM else "medium" if pixels < _LARGE else "large"
        of_class = classes[name]
        for each in ("objects", size):
            of_class[each] += 1
        of_class["truncated"] += int(truncated)
        of_class["difficult"] += int(difficult)


def _add_corners(annotation: Annotation, corners: np.ndarray) -> None:
    """Add a picture's boxes to [42, 42], of which the sums up to a cell say how many boxes cover it.

    Each covers one cell at least.
    """
    of_image = np.array([annotation.width, annotation.height] * 2)
    x1, y1, x2, y2 = np.clip(np.round(annotation.boxes / of_image * _CELLS), 0, _CELLS).astype(int).T
    x2, y2 = np.maximum(x2, x1 + 1), np.maximum(y2, y1 + 1)
    for x, y, sign in ((x1, y1, 1), (x2, y1, -1), (x1, y2, -1), (x2, y2, 1)):
        np.add.at(corners, (y, x), sign)
