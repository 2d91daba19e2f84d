"""``detections.jsonl``: a line for each picture, also those in which nothing was found; a later run goes on with it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from odml.detection_outputs.contract import Output, Result, Setup, entries
from odml.detection_outputs.whole_files import PART, WholeFile
from odml.structures import Detections

FILE = "detections.jsonl"


class JSONLines(Output):
    """Lines have ``file``, ``source`` (its path or address), ``width``, ``height`` and the ``detections``."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._file = WholeFile(setup.folder / FILE)

    def add(self, result: Result, written: None) -> None:
        """Write the line of one picture."""
        line = {
            "file": result.name,
            "source": result.where,
            "width": result.width,
            "height": result.height,
            "detections": list(entries(result, self.setup.label_map)),
        }
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Move the file to its place."""
        self._file.close()


def recover(folder: Path) -> None:
    """Take what a run that was killed has left into ``detections.jsonl``."""
    path, part = folder / FILE, folder / (FILE + PART)
    if not part.is_file():
        return
    whole = folder / f"{FILE}.recovered"
    with whole.open("w", encoding="utf-8") as file:
        seen: set[str] = set()
        for line in (line for each in (path, part) if each.is_file() for line in _lines(each)):
            if line["file"] not in seen:
                seen.add(line["file"])
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    os.replace(whole, path)
    part.unlink()


def read_results(folder: Path) -> Iterator[Result]:
    """Yield the results that ``detections.jsonl`` has, none if it is not there; they have no image."""
    path = folder / FILE
    for index, line in enumerate(_lines(path) if path.is_file() else ()):
        found = line["detections"]
        yield Result(
            index=index,
            name=line["file"],
            where=line["source"],
            width=line["width"],
            height=line["height"],
            detections=Detections(
                np.array([each["box"] for each in found], np.float32).reshape(-1, 4),
                np.array([each["score"] for each in found], np.float32),
                np.array([each["class_id"] for each in found], np.int32),
            ),
        )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines; the last one may have been cut when its run was killed."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("}\n"):
                yield json.loads(line)
