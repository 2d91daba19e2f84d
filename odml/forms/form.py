"""What the forms have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odml.detector import read_label_map
from odml.errors import ExportError
from odml.structures import LABELS_FILE, LabelMap

Detect = Callable[[Any], Mapping[str, Any]]
"""Pictures, uint8 [N, H, W, 3], as an array or a tensor -> named outputs, as arrays or tensors."""

_NAMES_FILE = "labels.txt"


@dataclass(frozen=True)
class Form:
    """A kind of file that an exported detector comes as.

    ``file`` is its name in an export folder. ``read`` gives the detector of such a file, or raises ExportError if it is
    missing, damaged or none, or if a package that runs it is not installed. Without ``batches`` the file takes one
    picture at a time; its function then takes those of a batch one after the other.
    """

    name: str
    file: str
    read: Callable[[Path], Detect]
    batches: bool = True

    def is_in(self, folder: Path) -> bool:
        """Say whether an export folder has it."""
        return (folder / self.file).exists()


def label_map_of(folder: Path) -> LabelMap:
    """Read the names of the classes that lie beside a detector: ``labels.pbtxt``, or else ``labels.txt``.

    Raises:
        ExportError: neither is there, or it cannot be read.
    """
    if (folder / LABELS_FILE).is_file():
        return read_label_map(folder / LABELS_FILE)
    if not (folder / _NAMES_FILE).is_file():
        raise ExportError(f"{folder}: has neither {LABELS_FILE} nor {_NAMES_FILE}; put the names of the classes there")
    return LabelMap(tuple((folder / _NAMES_FILE).read_text(encoding="utf-8").splitlines()))
