"""Files that appear whole or not at all: they are written beside their place, and moved to it when they are done."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

PART = ".part"
"""The end of the name of a file that is being written."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file at once; its folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}{PART}")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


class WholeFile:
    """A text file that grows line by line and appears when it is closed; an earlier one stays until then."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._part = path.with_name(path.name + PART)
        self._file = self._part.open("w", encoding="utf-8", newline="\n", buffering=1)

    def write(self, text: str) -> None:
        """Write on; whole lines are on their way to the disk when this returns."""
        self._file.write(text)

    def close(self) -> None:
        """Move the file to its place."""
        self._file.close()
        os.replace(self._part, self._path)


class JSONRows:
    """A list in JSON with an entry a line, written into a file as it grows."""

    def __init__(self, file: WholeFile | IO[str]) -> None:
        self._file = file
        self._separator = "[\n"

    def add(self, entry: Any) -> None:
        """Write one entry."""
        self._file.write(f"{self._separator}  {json.dumps(entry, ensure_ascii=False)}")
        self._separator = ",\n"

    def end(self) -> None:
        """Close the list, not the file."""
        self._file.write("[]" if self._separator == "[\n" else "\n]")
