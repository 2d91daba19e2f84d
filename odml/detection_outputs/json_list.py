"""``detections.json``: a list with an entry for each detection, each on a line of its own."""

from __future__ import annotations

from odml.detection_outputs.contract import Output, Result, Setup, entries
from odml.detection_outputs.whole_files import JSONRows, WholeFile


class JSONList(Output):
    """Entries have ``file``, ``label``, ``class_id``, ``score`` and ``box`` (pixels of the upright picture)."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._file = WholeFile(setup.folder / "detections.json")
        self._rows = JSONRows(self._file)

    def add(self, result: Result, written: None) -> None:
        """Write the detections of one picture."""
        for entry in entries(result, self.setup.label_map):
            self._rows.add({"file": result.name, **entry})

    def close(self) -> None:
        """End the list."""
        self._rows.end()
        self._file.write("\n")
        self._file.close()
