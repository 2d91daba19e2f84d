"""``yolo/labels/``: a text file for each picture, to correct in a labelling tool and to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from odml.detection_outputs.contract import Output, Result, Setup, with_area
from odml.detection_outputs.whole_files import write_whole

_CLASSES = "classes.txt"


class YOLO(Output):
    """Lines have the class, from 0, and the box's centre, width and height, 0 to 1 of the picture.

    The names of the classes are in ``data.yaml`` and ``classes.txt``, which is also in each folder of labels, where
    LabelImg looks for it.
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        names = list(setup.label_map.names)
        self._classes = "".join(f"{' '.join(name.split())}\n" for name in names).encode()
        description = yaml.safe_dump({"names": dict(enumerate(names))}, allow_unicode=True, sort_keys=False)
        write_whole(setup.folder / "yolo" / "data.yaml", description.encode())
        write_whole(setup.folder / "yolo" / _CLASSES, self._classes)

    def write(self, result: Result) -> None:
        """Write the file of one picture, an empty one where nothing was found."""
        found = with_area(result)
        boxes = found.boxes.astype(np.float64) / np.array([result.width, result.height] * 2)
        centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        rows = zip(found.classes.tolist(), np.concatenate([centres, sizes], axis=1).tolist(), strict=True)
        lines = (f"{class_id - 1} {' '.join(f'{value:.6f}' for value in box)}\n" for class_id, box in rows)
        write_whole(self._path_of(result), "".join(lines).encode())

    def add(self, result: Result, written: None) -> None:
        """See to it that the picture's folder of labels names the classes."""
        classes = self._path_of(result).with_name(_CLASSES)
        if not classes.is_file():
            write_whole(classes, self._classes)

    def has(self, result: Result) -> bool:
        """Say whether the file of the picture is there."""
        return self._path_of(result).is_file()

    def _path_of(self, result: Result) -> Path:
        return self.setup.folder / "yolo" / "labels" / f"{self.setup.names.stem(result.name)}.txt"
