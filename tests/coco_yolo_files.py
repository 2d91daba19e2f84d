"""Annotated sets written as COCO and as YOLO have them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from odml.structures import Annotation


def coco(
    *objects: dict[str, Any], images: Sequence[dict[str, Any]] = (), names: Sequence[str] = ("cat", "dog")
) -> dict[str, Any]:
    """Give the content of a COCO file; by default one picture a.png, of id 7, and categories with ids 10, 20, ..."""
    return {
        "info": {},
        "images": list(images) or [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": list(objects),
        "categories": [{"id": 10 * number, "name": name} for number, name in enumerate(names, start=1)],
    }


def coco_object(*, bbox: object = (0, 0, 10, 10), category_id: object = 10, **more: object) -> dict[str, Any]:
    """Give one entry of "annotations", of the picture with the id 7."""
    return {"id": 99, "image_id": 7, "category_id": category_id, "bbox": bbox, "iscrowd": 0} | more


def write_coco(file: Path, annotations: Sequence[Annotation], *, images: Path) -> None:
    """Write annotations as one COCO file; category ids have gaps, and so have those of the pictures."""
    names = sorted({name for each in annotations for name in each.names})
    ids = {name: 3 * number + 5 for number, name in enumerate(names)}
    records: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "categories": []}
    records["categories"] = [{"id": number, "name": name} for name, number in ids.items()]
    for number, each in enumerate(annotations):
        name = each.image.relative_to(images).as_posix()
        records["images"].append(
            {"id": 1000 - 2 * number, "file_name": name, "width": each.width, "height": each.height}
        )
        for box, class_name in zip(each.boxes.tolist(), each.names, strict=True):
            x1, y1, x2, y2 = box
            entry = {"id": len(records["annotations"]), "image_id": 1000 - 2 * number, "category_id": ids[class_name]}
            records["annotations"].append(entry | {"bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0})
    file.write_text(json.dumps(records), encoding="utf-8")


def write_yolo(folder: Path, annotations: Sequence[Annotation], *, images: Path, digits: int = 6) -> None:
    """Write annotations as YOLO label files, below the folder as the pictures are below ``images``, and data.yaml."""
    names = sorted({name for each in annotations for name in each.names})
    folder.mkdir(exist_ok=True)
    (folder / "data.yaml").write_text(json.dumps({"names": names}), encoding="utf-8")
    for each in annotations:
        lines = []
        for box, name in zip(each.boxes.tolist(), each.names, strict=True):
            x1, y1, x2, y2 = box
            values = (
                (x1 + x2) / 2 / each.width,
                (y1 + y2) / 2 / each.height,
                (x2 - x1) / each.width,
                (y2 - y1) / each.height,
            )
            lines.append(f"{names.index(name)} {' '.join(f'{value:.{digits}f}' for value in values)}\n")
        file = folder / each.image.relative_to(images).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(lines), encoding="utf-8")
