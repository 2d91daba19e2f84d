"""``pascal_voc/``: an XML file for each picture, to correct in a labelling tool and to train on."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
from lxml import etree

from odml.detection_outputs.contract import Output, Result, with_area
from odml.detection_outputs.whole_files import write_whole

_DEPTH = 3


class PascalVOC(Output):
    """Files are named as their pictures are; each object has its score beside what Pascal VOC knows."""

    def write(self, result: Result) -> None:
        """Write the file of one picture."""
        root = etree.Element("annotation")
        path = PurePosixPath(result.name)
        _add(root, folder=path.parent.name, filename=path.name, path=result.where)
        _add(etree.SubElement(root, "size"), width=result.width, height=result.height, depth=_DEPTH)
        found = with_area(result)
        rows = zip(found.classes.tolist(), found.scores.tolist(), _whole_pixels(found.boxes, result), strict=True)
        for class_id, score, (x1, y1, x2, y2) in rows:
            item = etree.SubElement(root, "object")
            name = self.setup.label_map.name_of(class_id)
            _add(item, name=name, pose="Unspecified", truncated=0, difficult=0, score=round(score, 4))
            _add(etree.SubElement(item, "bndbox"), xmin=x1 + 1, ymin=y1 + 1, xmax=x2, ymax=y2)
        write_whole(self._path_of(result), etree.tostring(root, pretty_print=True, encoding="utf-8"))

    def has(self, result: Result) -> bool:
        """Say whether the file of the picture is there."""
        return self._path_of(result).is_file()

    def _path_of(self, result: Result) -> Path:
        return self.setup.folder / "pascal_voc" / f"{self.setup.names.stem(result.name)}.xml"


def _add(parent: etree._Element, **texts: object) -> None:
    for tag, text in texts.items():
        etree.SubElement(parent, tag).text = str(text)


def _whole_pixels(boxes: np.ndarray, result: Result) -> list[list[int]]:
    """Round boxes [N, 4] to whole pixels, two at least where there are two: tools take a box of one for a mistake."""
    low, high = np.rint(boxes[:, :2]).astype(int), np.rint(boxes[:, 2:]).astype(int)
    size = np.array([result.width, result.height])
    low = np.maximum(np.minimum(low, size - 2), 0)
    return np.concatenate([low, np.minimum(np.maximum(high, low + 2), size)], axis=1).tolist()
