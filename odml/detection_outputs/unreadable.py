"""``unreadable.txt``: a line for each picture that cannot be read, if there is one."""

from __future__ import annotations

from odml.detection_outputs.contract import Output
from odml.detection_outputs.whole_files import WholeFile


class Unreadable(Output):
    """Every detection has it, so that none of the reasons is lost."""

    _file: WholeFile | None = None

    def refuse(self, reason: str) -> None:
        """Write why a picture cannot be read."""
        self._file = self._file or WholeFile(self.setup.folder / "unreadable.txt")
        self._file.write(f"{reason}\n")

    def close(self) -> None:
        """Move the file to its place."""
        if self._file:
            self._file.close()
