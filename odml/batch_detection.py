"""Detecting in many pictures: drawn pictures and one ``detections.json``, by way of a few pictures in memory.

Reading and drawing go on in threads while the network works.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from odml.detector import Detector
from odml.drawing import draw_detections
from odml.errors import ImageError
from odml.images import read_image
from odml.parallel import parallel_map
from odml.progress import progress
from odml.structures import Detections, LabelMap

DETECTIONS_FILE = "detections.json"
_CHUNK = 8
_PNG_COMPRESSION = 1  # half to a quarter of the default's time, a tenth more bytes


@dataclass(frozen=True)
class Outcome:
    """How many pictures were read and how many objects found in them; ``unreadable`` says which were not, and why."""

    images: int
    detections: int
    unreadable: tuple[str, ...]


def detect_in_files(
    detector: Detector,
    paths: Sequence[Path],
    output: Path,
    *,
    root: Path,
    score_threshold: float,
    max_detections: int,
) -> Outcome:
    """Detect in picture files and write what was found.

    ``output`` gets a drawn picture for each at the same place as below ``root``, and ``detections.json``, a list with
    an entry for each detection: ``file`` (relative to ``root``), ``label``, ``class_id``, ``score`` and ``box``
    (pixels ``[x1, y1, x2, y2]`` of the upright picture). A file that cannot be read is left out of both.

    Args:
        root: a folder that all paths are in.
    """
    names = drawn_names([path.relative_to(root) for path in paths])
    unreadable: list[str] = []
    found: list[dict[str, Any]] = []
    seen = 0
    read = _readable(parallel_map(_read, paths), unreadable)
    detected = _detect(detector, read, score_threshold=score_threshold, max_detections=max_detections)

    def write(item: tuple[Path, np.ndarray, Detections]) -> tuple[Path, Detections]:
        path, image, detections = item
        target = output / names[path.relative_to(root)]
        target.parent.mkdir(parents=True, exist_ok=True)
        draw_detections(image, detections, detector.label_map).save(target, compress_level=_PNG_COMPRESSION)
        return path.relative_to(root), detections

    for path, detections in progress(parallel_map(write, detected), total=len(paths), description="detect"):
        found += _entries(path, detections, detector.label_map)
        seen += 1
    (output / DETECTIONS_FILE).write_text(_to_json(found), encoding="utf-8")
    return Outcome(seen, len(found), tuple(unreadable))


def drawn_names(paths: Iterable[Path]) -> dict[Path, Path]:
    """Name the drawn picture of each: ``a/photo.jpg`` becomes ``a/photo.png``.

    Where two would get the same name, in any case of letters, ``photo.jpg`` becomes ``photo.jpg.png``.
    """
    names = {path: path.with_suffix(".png") for path in paths}
    while True:
        counts = Counter(str(name).casefold() for name in names.values())
        long = {path: path.with_name(f"{path.name}.png") for path in names}
        clashing = [path for path, name in names.items() if counts[str(name).casefold()] > 1 and name != long[path]]
        if not clashing:
            return names
        names |= {path: long[path] for path in clashing}


def _read(path: Path) -> tuple[Path, np.ndarray | ImageError]:
    try:
        return path, read_image(path)
    except ImageError as error:
        return path, error


def _readable(
    items: Iterable[tuple[Path, np.ndarray | ImageError]], unreadable: list[str]
) -> Iterator[tuple[Path, np.ndarray]]:
    for path, image in items:
        if isinstance(image, ImageError):
            unreadable.append(str(image))
        else:
            yield path, image


def _detect(
    detector: Detector, items: Iterator[tuple[Path, np.ndarray]], *, score_threshold: float, max_detections: int
) -> Iterator[tuple[Path, np.ndarray, Detections]]:
    while chunk := list(islice(items, _CHUNK)):
        images = [image for _, image in chunk]
        found = detector.detect(images, score_threshold=score_threshold, max_detections=max_detections)
        yield from ((path, image, detections) for (path, image), detections in zip(chunk, found, strict=True))


def _entries(path: Path, detections: Detections, label_map: LabelMap) -> Iterator[dict[str, Any]]:
    rows = zip(detections.classes.tolist(), detections.scores.tolist(), detections.boxes.tolist(), strict=True)
    for class_id, score, box in rows:
        yield {
            "file": path.as_posix(),
            "label": label_map.name_of(class_id),
            "class_id": class_id,
            "score": round(score, 4),
            "box": [round(side, 2) for side in box],
        }


def _to_json(entries: Sequence[dict[str, Any]]) -> str:
    """Write a list with an entry a line, for people and for ``grep``."""
    lines = ",\n".join(f"  {json.dumps(entry, ensure_ascii=False)}" for entry in entries)
    return f"[\n{lines}\n]\n" if entries else "[]\n"
