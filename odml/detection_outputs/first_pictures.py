"""The first few drawn pictures, handed to whoever shows them."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from odml.detection_outputs.contract import Output, Result, Setup
from odml.detection_outputs.drawn import drawn

SHOWN = 8
_SIDE = 1280  # pixels of the longer side


class FirstPictures(Output):
    """Call ``show`` with each of the first drawn pictures, scaled down if it is large, and its number from 0."""

    def __init__(self, setup: Setup, show: Callable[[Image.Image, int], None]) -> None:
        super().__init__(setup)
        self._show = show
        self._before = 0  # pictures that an earlier run has detected in, all of which come first

    def write(self, result: Result) -> Image.Image | None:
        """Draw one of the first pictures."""
        if result.index - self._before >= SHOWN:
            return None
        picture = drawn(result, self.setup.label_map)
        picture.thumbnail((_SIDE, _SIDE), reducing_gap=2)
        return picture

    def add(self, result: Result, written: Image.Image | None) -> None:
        """Show it."""
        if result.image is None:
            self._before += 1
        if written is not None:
            self._show(written, result.index - self._before)
