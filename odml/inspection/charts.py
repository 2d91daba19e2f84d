"""A set's statistics as charts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import MaxNLocator
from PIL import Image

from odml.drawing import font_path, html_colour
from odml.figures import draw_figure
from odml.inspection.statistics import Statistics

_MOST_CLASSES = 40
_MOST_BARS = 50
_FEWEST_BARS = 3  # for which there is room, so that one alone is no wall
_SIZE = (6.4, 3.6)  # inches
_SKY, _BLUE, _RED = (html_colour(class_id) for class_id in (2, 5, 6))


def draw_charts(statistics: Statistics) -> dict[str, Image.Image]:
    """Draw a chart for each thing that shapes a detector; none of a set without objects."""
    if not len(statistics.sizes):
        return {}
    tall = (_SIZE[0], max(_SIZE[1], 0.28 * min(len(statistics.classes), _MOST_CLASSES) + 1.1))
    return {
        "classes": _draw(_classes, statistics, tall),
        "objects_per_image": _draw(_objects_per_image, statistics),
        "box_sizes": _draw(_box_sizes, statistics),
        "aspect_ratios": _draw(_aspect_ratios, statistics),
        "box_places": _draw(_box_places, statistics),
        "image_sizes": _draw(_image_sizes, statistics),
    }


def _draw(draw: Callable[[Axes, Statistics], None], statistics: Statistics, size: tuple = _SIZE) -> Image.Image:
    return draw_figure(lambda axes: draw(axes, statistics), size=size)


def _classes(axes: Axes, statistics: Statistics) -> None:
    shown = list(statistics.classes)[:_MOST_CLASSES]
    left = np.zeros(len(shown))
    sizes = {"small": "small (below 32² px)", "medium": "medium", "large": "large (from 96² px)"}
    for (size, label), colour in zip(sizes.items(), (_RED, _SKY, _BLUE), strict=True):
        counts = np.array([getattr(statistics.classes[name], size) for name in shown])
        bars = axes.barh(range(len(shown)), counts, left=left, label=label, color=colour)
        left += counts
    axes.bar_label(bars, [f"{round(count)}" for count in left], padding=4)
    axes.set_yticks(range(len(shown)), [_readable(name, rank) for rank, name in enumerate(shown, start=1)])
    for tick, name in zip(axes.get_yticklabels(), shown, strict=True):
        tick.set_fontproperties(FontProperties(fname=font_path(name)))
    axes.set_ylim(max(len(shown), _FEWEST_BARS) - 0.5, -0.5)
    axes.margins(x=0.12)
    hidden = len(statistics.classes) - len(shown)
    axes.set_title("Objects of each class" + (f", without the {hidden} least frequent" if hidden else ""))
    axes.figure.legend(frameon=False, loc="outside lower center", ncols=3)


def _readable(name: str, rank: int) -> str:
    """Give a name as matplotlib writes it, or "class RANK" where no font here has its letters."""
    # A "$" would begin a formula.
    return name.replace("$", r"\$") if font_path(name) else f"class {rank}"


def _objects_per_image(axes: Axes, statistics: Statistics) -> None:
    most = int(statistics.objects_per_image.max())
    edges = np.arange(most + 2) - 0.5 if most < _MOST_BARS else np.linspace(-0.5, most + 0.5, _MOST_BARS)
    axes.hist(statistics.objects_per_image, bins=edges.tolist(), color=_BLUE, rwidth=0.9)
    axes.set_title("Objects in a picture")
    axes.set_xlabel("objects")
    axes.set_ylabel("pictures")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _box_sizes(axes: Axes, statistics: Statistics) -> None:
    sides = np.sqrt(statistics.sizes.prod(axis=1))
    low, high = sides.min(), max(sides.max(), sides.min() * 1.1)
    axes.hist(sides, bins=np.geomspace(low, high, _MOST_BARS).tolist(), color=_BLUE)
    axes.set_xscale("log")
    for limit in (32, 96):
        axes.axvline(limit, color=_RED, linestyle="--", linewidth=1)
    ticks = [tick for tick in (2, 4, 8, 16, 32, 64, 96, 128, 256, 512, 1024, 2048, 4096) if low <= tick <= high]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_title("Sizes of boxes (dashed: COCO's limits of small and large)")
    axes.set_xlabel("√(width x height), pixels")
    axes.set_ylabel("objects")


def _aspect_ratios(axes: Axes, statistics: Statistics) -> None:
    ratios = statistics.aspect_ratios
    widest = max(2.0, float(np.exp(np.abs(np.log(ratios)).max())))
    axes.hist(ratios, bins=np.geomspace(1 / widest, widest, _MOST_BARS + 1).tolist(), color=_BLUE)
    axes.set_xscale("log")
    ticks = [tick for tick in (1 / 10, 1 / 5, 1 / 3, 1 / 2, 1, 2, 3, 5, 10) if 1 / widest <= tick <= widest]
    axes.set_xticks(ticks, [f"{tick:g}:1" if tick >= 1 else f"1:{1 / tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_title("Shapes of boxes")
    axes.set_xlabel("width : height")
    axes.set_ylabel("objects")


def _box_places(axes: Axes, statistics: Statistics) -> None:
    """Say by colour how many boxes cover each place of the picture."""
    image = axes.imshow(statistics.places, extent=(0, 1, 1, 0), cmap="viridis", aspect=0.75)
    axes.figure.colorbar(image, label="objects")
    axes.set_title("Where in the picture objects are")
    axes.set_xticks([])
    axes.set_yticks([])


def _image_sizes(axes: Axes, statistics: Statistics) -> None:
    sizes, counts = np.unique(statistics.image_sizes, axis=0, return_counts=True)
    axes.scatter(sizes[:, 0], sizes[:, 1], s=20 + 180 * counts / counts.max(), color=_BLUE, alpha=0.5, linewidths=0)
    axes.set_xlim(0, sizes[:, 0].max() * 1.1)
    axes.set_ylim(0, sizes[:, 1].max() * 1.1)
    axes.set_title("Sizes of pictures (larger dot: more of them)")
    axes.set_xlabel("width, pixels")
    axes.set_ylabel("height, pixels")
