"""Ground truth and detections in COCO's JSON, for pycocotools, FiftyOne, TIDE, supervision and others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from odml.errors import AnnotationError
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


def read_ground_truth(path: Path) -> tuple[list[Annotation], LabelMap]:
    """Read what ``write_ground_truth`` has written: the same annotations in the same order, and their label map.

    Of objects that are difficult and crowds both, the first is kept.

    Raises:
        AnnotationError: the file is damaged.
    """
    with _reading(path):
        content = json.loads(path.read_text())
        label_map = LabelMap(tuple(each["name"] for each in content["categories"]))
        objects: dict[int, list[dict]] = {each["id"]: [] for each in content["images"]}
        for each in content["annotations"]:
            objects[each["image_id"]].append(each)
        return [_annotation(image, objects[image["id"]], label_map) for image in content["images"]], label_map


def read_predictions(path: Path, pictures: int) -> list[Detections]:
    """Read what ``write_predictions`` has written of so many pictures: the same detections in the same order.

    Raises:
        AnnotationError: the file is damaged, or tells of more pictures.
    """
    with _reading(path):
        rows: list[list[dict]] = [[] for _ in range(pictures)]
        for each in json.loads(path.read_text()):
            rows[each["image_id"] - 1].append(each)
        return [
            Detections(
                _xyxy(of_picture),
                np.array([each["score"] for each in of_picture], np.float32),
                np.array([each["category_id"] for each in of_picture], np.int32),
            )
            for of_picture in rows
        ]


def _annotation(image: dict, objects: Sequence[dict], label_map: LabelMap) -> Annotation:
    difficult = np.array([bool(each["difficult"]) for each in objects], np.bool_)
    return Annotation(
        image=Path(image["file_name"]),
        width=image["width"],
        height=image["height"],
        boxes=_xyxy(objects),
        names=tuple(label_map.name_of(each["category_id"]) for each in objects),
        difficult=difficult,
        crowd=np.array([bool(each["iscrowd"]) for each in objects], np.bool_) & ~difficult,
    )


def _xyxy(rows: Sequence[dict]) -> np.ndarray:
    boxes = np.array([each["bbox"] for each in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes.astype(np.float32)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise AnnotationError(f"{path}: is not what an evaluation writes ({error!r}); evaluate again") from error


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
