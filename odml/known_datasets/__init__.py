"""Data sets that odml has without being given one: public ones that it downloads, and shapes that it draws itself."""

from odml.known_datasets.known import NAMES, fetch
from odml.known_datasets.shapes import draw_shapes

__all__ = ["NAMES", "draw_shapes", "fetch"]
