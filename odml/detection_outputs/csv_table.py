"""``detections.csv``: a row for each detection, for spreadsheets and pandas."""

from __future__ import annotations

import csv

from odml.detection_outputs.contract import Output, Result, Setup, entries
from odml.detection_outputs.whole_files import WholeFile

COLUMNS = ("file", "label", "class_id", "score", "x1", "y1", "x2", "y2", "width", "height")


class CSVTable(Output):
    """Boxes are pixels of the upright picture, whose width and height are the last columns."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._file = WholeFile(setup.folder / "detections.csv")
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(COLUMNS)

    def add(self, result: Result, written: None) -> None:
        """Write the rows of one picture."""
        for entry in entries(result, self.setup.label_map):
            found = (entry["label"], entry["class_id"], entry["score"], *entry["box"])
            self._rows.writerow((result.name, *found, result.width, result.height))

    def close(self) -> None:
        """Move the file to its place."""
        self._file.close()
