"""What a data set holds, for people: counts of its classes, and some of its pictures."""

from __future__ import annotations

import random
from collections.abc import Mapping

from PIL import Image

from odml.drawing import draw_annotation, grid
from odml.images import read_image
from odml.inspection import ClassCount, count_classes
from odml.preparation.sides import sides_of
from odml.structures import Annotation, LabelMap

_SAMPLES = 12


def class_table(sources: Mapping[str, Annotation], split: Mapping[str, str]) -> list[dict[str, str | int]]:
    """Give a row for each class, sorted: on each side, how many pictures have it and how many objects there are."""
    counts = {
        side: count_classes(sources[source_id] for source_id in split if split[source_id] == side)
        for side in sides_of(split)
    }
    rows: list[dict[str, str | int]] = []
    for name in sorted({name for of_side in counts.values() for name in of_side}):
        row: dict[str, str | int] = {"class": name}
        for side, of_side in counts.items():
            count = of_side.get(name, ClassCount(images=0, objects=0))
            row |= {f"{side}_images": count.images, f"{side}_objects": count.objects}
        rows.append(row)
    return rows


def metrics(sources: Mapping[str, Annotation], split: Mapping[str, str]) -> dict[str, float]:
    """Give the sizes of the data set: pictures on each side, background pictures, objects of each class."""
    counts = count_classes(sources.values())
    return {
        **{f"data/{side}_images": list(split.values()).count(side) for side in sides_of(split)},
        "data/background_images": sum(not annotation.names for annotation in sources.values()),
        **{f"data/objects/{name}": count.objects for name, count in counts.items()},
    }


def sample_sheet(sources: Mapping[str, Annotation], label_map: LabelMap, *, seed: int) -> Image.Image:
    """Draw up to twelve pictures, which the seed chooses, with their boxes."""
    chosen = random.Random(seed).sample(sorted(sources), min(_SAMPLES, len(sources)))
    return grid([draw_annotation(read_image(sources[each].image), sources[each], label_map) for each in chosen])
