"""``gallery.html``: pictures with their detections on one page, to filter by class and score.

The page holds all that it shows and asks nothing from elsewhere. It is bounded: of many pictures it has some hundreds,
drawn by lot, small, and each with its best detections.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from odml.detection_outputs.contract import Output, Result, Setup
from odml.detection_outputs.whole_files import write_whole
from odml.drawing import html_colour
from odml.errors import ImageError
from odml.images import read_image
from odml.pages import data_uri, template

SHOWN = 300
_BOXES = 100  # of a picture
_SIDE = 384  # pixels of the longer side
_QUALITY = 75


class Gallery(Output):
    """Each picture is as likely to be shown as any other, whichever way and however many there are.

    Which ones are depends on nothing but their places (Vitter, "Random sampling with a reservoir", 1985, algorithm R).
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._shown: dict[int, tuple[int, dict[str, Any]]] = {}  # by place in the reservoir: index, picture
        self._pictures = self._with_objects = 0
        self._classes: Counter[int] = Counter()

    def write(self, result: Result) -> dict[str, Any] | None:
        """Make what the page has of a picture, if it is to be shown."""
        if _place_of(result.index) is None:
            return None
        assert result.image is not None
        return self._described(result, result.image)

    def add(self, result: Result, written: dict[str, Any] | None) -> None:
        """Count a picture, and keep it if it is to be shown."""
        self._pictures += 1
        self._with_objects += bool(len(result.detections))
        self._classes.update(result.detections.classes.tolist())
        place = _place_of(result.index)
        if place is None:
            return
        described = written or self._from_file(result)
        if described:
            self._shown[place] = result.index, described
        else:
            self._shown.pop(place, None)

    def close(self) -> None:
        """Write the page."""
        names = self.setup.label_map.names
        pictures = [picture for _, picture in sorted(self._shown.values(), key=lambda each: each[0])]
        page = template("odml.detection_outputs", "gallery.html").render(
            title=self.setup.title,
            facts=self.setup.facts,
            pictures=pictures,
            total=self._pictures,
            with_objects=self._with_objects,
            classes=[
                {"id": class_id, "name": names[class_id - 1], "count": count, "colour": html_colour(class_id)}
                for class_id, count in sorted(self._classes.items(), key=lambda each: (-each[1], each[0]))
            ],
            least=self.setup.score_threshold,
            has_truth=any("truth" in picture for picture in pictures),
        )
        write_whole(self.setup.folder / "gallery.html", page.encode())

    def _described(self, result: Result, image: np.ndarray) -> dict[str, Any]:
        best = result.detections.best(max_detections=_BOXES)
        rows = zip(best.classes.tolist(), best.scores.tolist(), best.boxes.tolist(), strict=True)
        described = {
            "name": result.name,
            "width": result.width,
            "height": result.height,
            "picture": _thumbnail(image),
            "boxes": [[class_id, round(score, 3), *_rounded(box)] for class_id, score, box in rows],
        }
        if result.truth is not None:
            objects = zip(result.truth.names, result.truth.boxes.tolist(), strict=True)
            described["truth"] = [[name, *_rounded(box)] for name, box in objects]
        return described

    def _from_file(self, result: Result) -> dict[str, Any] | None:
        """Describe a picture that an earlier run has detected in, if it is a file that is still there."""
        try:
            return self._described(result, read_image(Path(result.where)))
        except ImageError:
            return None


def _place_of(index: int) -> int | None:
    """Give the place that a picture takes in the reservoir, None if it is not shown."""
    place = index if index < SHOWN else random.Random(index).randrange(index + 1)
    return place if place < SHOWN else None


def _thumbnail(image: np.ndarray) -> str:
    picture = Image.fromarray(image)
    picture.thumbnail((_SIDE, _SIDE), reducing_gap=2)
    return data_uri(picture, "jpeg", quality=_QUALITY)


def _rounded(box: list[float]) -> list[float]:
    return [round(side, 1) for side in box]
