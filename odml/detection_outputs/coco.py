"""``coco/``: the detections as COCO has them, in both of its forms, with the same numbers of pictures and classes.

results.json     a list of detections with their scores (cocodataset.org, "results format"), for evaluations
instances.json   pictures, objects and classes, as annotation tools import them
"""

from __future__ import annotations

import json
import tempfile

import numpy as np

from odml.detection_outputs.contract import Output, Result, Setup, with_area
from odml.detection_outputs.whole_files import JSONRows, WholeFile


class COCO(Output):
    """Pictures are numbered from 1 as they come; category ids are the label map's; ``bbox`` is x, y, width, height."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        folder = setup.folder / "coco"
        self._results, self._instances = WholeFile(folder / "results.json"), WholeFile(folder / "instances.json")
        # Its list goes to the end of instances.json; the file is gone when it is closed.
        self._pictures = tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)  # noqa: SIM115
        categories = [{"id": number, "name": name} for number, name in enumerate(setup.label_map.names, start=1)]
        self._instances.write(f'{{"categories": {json.dumps(categories, ensure_ascii=False)},\n"annotations": ')
        self._rows = JSONRows(self._results), JSONRows(self._instances), JSONRows(self._pictures)
        self._images = self._objects = 0

    def add(self, result: Result, written: None) -> None:
        """Write one picture and its detections."""
        results, objects, pictures = self._rows
        self._images += 1
        size = {"width": result.width, "height": result.height}
        pictures.add({"id": self._images, "file_name": result.name, **size})
        found = with_area(result)
        boxes = found.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        for class_id, score, box in zip(found.classes.tolist(), found.scores.tolist(), boxes.tolist(), strict=True):
            self._objects += 1
            detection = {"image_id": self._images, "category_id": class_id, "bbox": box, "score": round(score, 6)}
            results.add(detection)
            objects.add({"id": self._objects, **detection, "area": box[2] * box[3], "iscrowd": 0, "segmentation": []})

    def close(self) -> None:
        """End both files."""
        for rows in self._rows:
            rows.end()
        self._results.write("\n")
        self._results.close()
        self._instances.write(',\n"images": ')
        with self._pictures as pictures:
            pictures.seek(0)
            for line in pictures:
                self._instances.write(line)
        self._instances.write("}\n")
        self._instances.close()
