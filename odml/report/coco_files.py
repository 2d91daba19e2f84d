"""Ground truth and detections in COCO's JSON, for pycocotools, FiftyOne, TIDE, supervision and others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from odml.structures import Annotation, Detections, LabelMap


def write_predictions(path: Path, detections: Iterable[Detections]) -> None:
    """Write COCO results: an entry a detection, ``bbox`` as x, y, width and height, nothing rounded.

    Pictures are numbered from 1 as they come, categories are the label map's ids. One picture is held at a time.
    """
    _write_list(path, (row for image_id, each in enumerate(detections, start=1) for row in _results(image_id, each)))


def write_ground_truth(path: Path, annotations: Sequence[Annotation], label_map: LabelMap) -> None:
    """Write COCO instances of the pictures in the same order.

    Each object has its box as ``segmentation`` too, without which TIDE does not read it.

    COCO knows no difficult objects: they are crowds here, as those need not be found either, with ``difficult`` beside
    it. pycocotools then takes their overlap for a crowd's, and its numbers can differ a little from ours.
    """
    with path.open("w") as file:
        file.write('{"info": {"description": "ground truth of an evaluation"}, "licenses": [],\n"categories": ')
        json.dump([{"id": number, "name": name} for number, name in enumerate(label_map.names, start=1)], file)
        images = (
            {"id": image_id, "file_name": each.image.as_posix(), "width": each.width, "height": each.height}
            for image_id, each in enumerate(annotations, start=1)
        )
        file.write(',\n"images": ')
        _dump_list(file, images)
        file.write(',\n"annotations": ')
        _dump_list(file, _objects(annotations, label_map))
        file.write("}\n")


def _results(image_id: int, detections: Detections) -> Iterator[dict]:
    boxes = _xywh(detections.boxes)
    for class_id, box, score in zip(detections.classes.tolist(), boxes, detections.scores, strict=True):
        yield {"image_id": image_id, "category_id": class_id, "bbox": box, "score": float(str(score))}


def _objects(annotations: Sequence[Annotation], label_map: LabelMap) -> Iterator[dict]:
    number = 0
    for image_id, each in enumerate(annotations, start=1):
        assert each.difficult is not None  # an Annotation fills it in
        assert each.crowd is not None
        flags = zip(each.difficult.tolist(), each.crowd.tolist(), strict=True)
        for name, box, (difficult, crowd) in zip(each.names, _xywh(each.boxes), flags, strict=True):
            number += 1
            yield {
                "id": number,
                "image_id": image_id,
                "category_id": label_map.id_of(name),
                "bbox": box,
                "segmentation": [_outline(*box)],
                "area": box[2] * box[3],
                "iscrowd": int(difficult or crowd),
                "difficult": int(difficult),
            }


def _outline(x: float, y: float, width: float, height: float) -> list[float]:
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def _xywh(boxes: np.ndarray) -> list[list[float]]:
    boxes = boxes.astype(np.float64)
    boxes[:, 2:] = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return boxes.tolist()


def _write_list(path: Path, rows: Iterable[dict]) -> None:
    with path.open("w") as file:
        _dump_list(file, rows)
        file.write("\n")


def _dump_list(file, rows: Iterable[dict]) -> None:  # type: ignore[no-untyped-def]
    separator = "[\n"
    for row in rows:
        file.write(separator + json.dumps(row))
        separator = ",\n"
    file.write("[]" if separator == "[\n" else "\n]")
