"""Charts of matplotlib as pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

_DPI = 160


def draw_figure(draw: Callable[[Axes], None], *, size: tuple[float, float]) -> Image.Image:
    """Give the picture of what a function draws on axes without a frame above and on the right.

    Args:
        size: width and height in inches, of 160 pixels.
    """
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # once, where savefig does it twice, and encodes what would have to be decoded again
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
