"""``crops/CLASS/``: each object cut out of its picture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from odml.detection_outputs.contract import Output, Result, with_area
from odml.detection_outputs.drawn import encode
from odml.detection_outputs.whole_files import write_whole

_QUALITY = 95


class Crops(Output):
    """A JPEG for each detection, numbered from 1 in its picture, the best first."""

    def write(self, result: Result) -> None:
        """Cut the objects out of one picture."""
        assert result.image is not None
        for path, (x1, y1, x2, y2) in self._crops(result):
            write_whole(path, encode(Image.fromarray(result.image[y1:y2, x1:x2]), quality=_QUALITY))

    def has(self, result: Result) -> bool:
        """Say whether all objects of the picture are there."""
        return all(path.is_file() for path, _ in self._crops(result))

    def _crops(self, result: Result) -> Iterator[tuple[Path, list[int]]]:
        """Give the place of each crop, and its pixels: all those that the box touches."""
        found = with_area(result)
        stem = self.setup.names.stem(result.name)
        sides = np.concatenate([np.floor(found.boxes[:, :2]), np.ceil(found.boxes[:, 2:])], axis=1).astype(int)
        for number, (class_id, box) in enumerate(zip(found.classes.tolist(), sides.tolist(), strict=True), start=1):
            folder = folder_name(self.setup.label_map.name_of(class_id), class_id)
            yield self.setup.folder / "crops" / folder / f"{stem}-{number}.jpg", box


def folder_name(name: str, class_id: int) -> str:
    """Give a class the name of a folder: its own, or, where no folder can be called so, a similar one and its id."""
    safe = re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", name).strip(" .")
    return name if safe == name else f"{safe}-{class_id}"
