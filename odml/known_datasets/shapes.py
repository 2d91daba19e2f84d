"""Pictures of shapes that odml draws itself.

The shapes are learnable from scratch by a small detector, as the demonstration and the tests need it, but not by
colour alone: colour, size and rotation say nothing of the class, the ground is textured, and objects hide parts of
each other.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lxml import etree
from PIL import Image, ImageDraw

from odml.errors import ConfigurationError
from odml.progress import progress
from odml.structures import Annotation

_BACKGROUND_SHARE = 0.06  # of the pictures have no object
_MOST_OBJECTS = 4
_SIDES = (0.2, 0.6)  # longer side of an object, of the picture's shorter side
_MOST_TURN = math.radians(25)  # either way
_LEAST_VISIBLE = 0.7  # of an object's area, however much the others hide of it
_ATTEMPTS = 20  # at finding a place for an object
_SMALLEST_SIDE = 64
_OVERSAMPLING = 4

_Colour = tuple[float, float, float]  # red, green, blue, 0..1


@dataclass(frozen=True)
class Shape:
    """An object in a drawn picture: the pixels [H, W] that it has, and those that no other object hides."""

    name: str
    whole: np.ndarray
    visible: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Its visible part, ``x1, y1, x2, y2``, half-open."""
        return _extent(self.visible)


def draw_shapes(folder: Path, *, images: int, seed: int, size: tuple[int, int] = (320, 240)) -> tuple[Path, Path]:
    """Draw a detection data set of circles, crosses, squares, stars and triangles.

    It has one to four objects a picture, none in some, in JPEG pictures of a few sizes around ``size``, and a Pascal
    VOC file for each. The boxes are those of what is visible of an object; where that is less than all of it, it is
    marked as truncated. The same seed and size draw the same pictures; more pictures begin with the same ones.

    Args:
        folder: new or without pictures and annotations; gets the folders ``images`` and ``annotations``.
        images: how many pictures, at least 1.
        seed: at least 0.
        size: width and height, at least 64.
    Returns:
        The folder of the pictures and the folder of the annotations.
    Raises:
        ConfigurationError: the folder already has pictures or annotations.
        ValueError: ``images``, ``seed`` or ``size`` is too small.
    """
    if images < 1 or seed < 0 or min(size) < _SMALLEST_SIDE:
        raise ValueError(f"images, seed and size must be at least 1, 0 and 64, not {images}, {seed} and {size}")
    pictures, annotations = folder / "images", folder / "annotations"
    for each in (pictures, annotations):
        each.mkdir(parents=True, exist_ok=True)
        if any(each.iterdir()):
            raise ConfigurationError(f"{each}: the folder is not empty; give a new one, or remove what is in it")
    for number in progress(range(images), total=images, description="drawing pictures"):
        rng = np.random.default_rng([seed, number])
        pixels, shapes = draw_picture(rng, *_picture_size(rng, *size))
        picture = pictures / f"shapes_{number + 1:05}.jpg"
        Image.fromarray(pixels).save(picture, quality=92)
        annotations.joinpath(picture.stem + ".xml").write_bytes(_voc_xml(_annotation(picture, pixels, shapes)))
    return pictures, annotations


def draw_picture(rng: np.random.Generator, width: int, height: int) -> tuple[np.ndarray, list[Shape]]:
    """Draw one picture, uint8 [H, W, 3], and give the objects in it, the one at the bottom first."""
    pixels, used = _background(rng, width, height)
    shapes: list[Shape] = []
    count = 0 if rng.random() < _BACKGROUND_SHARE else int(rng.integers(1, _MOST_OBJECTS + 1))
    for _ in range(count):
        name = str(rng.choice(list(OUTLINES)))
        if (room := _find_room(rng, name, shapes, width, height)) is None:
            continue
        coverage, shapes = room
        used.append(_distinct_colour(rng, used))
        _paint(rng, pixels, coverage, used[-1])
    pixels += np.float32(0.02) * rng.standard_normal(pixels.shape, np.float32)
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8), shapes


def _regular(corners: int, *radii: float, start: float = -math.pi / 2) -> np.ndarray:
    """Give the outline [corners, 2] of a polygon around the origin whose corners have these radii by turns.

    The first corner is at the angle ``start``, by default on top.
    """
    angles = start + np.arange(corners) * 2 * math.pi / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.resize(radii, (corners, 1))


def _cross() -> np.ndarray:
    arm = np.array([(0.35, 1), (-0.35, 1), (-0.35, 0.35)])
    quarter = np.array([(0, 1), (-1, 0)])  # turns a row of points by 90 degrees
    return np.concatenate([arm @ np.linalg.matrix_power(quarter, turns) for turns in range(4)])


# Class -> its outline [corners, 2] around the origin, upright, of any size.
OUTLINES = {
    "circle": _regular(72, 1),
    "cross": _cross(),
    "square": _regular(4, 1, start=math.pi / 4),
    "star": _regular(10, 1, 0.45),
    "triangle": _regular(3, 1),
}


def _picture_size(rng: np.random.Generator, width: int, height: int) -> tuple[int, int]:
    sizes = [(width, height), (height, width), (width * 5 // 4, height * 5 // 4), (height, height)]
    return sizes[rng.integers(len(sizes))]


def _find_room(
    rng: np.random.Generator, name: str, shapes: Sequence[Shape], width: int, height: int
) -> tuple[np.ndarray, list[Shape]] | None:
    """Try places for one more object; give its coverage [H, W] and all shapes with it, or None if it hid too much."""
    for _ in range(_ATTEMPTS):
        coverage = _coverage(_placed(rng, OUTLINES[name], width, height), width, height)
        layered = _with_on_top(shapes, Shape(name, coverage >= 0.5, coverage >= 0.5))
        if all(each.visible.sum() >= _LEAST_VISIBLE * each.whole.sum() for each in layered):
            return coverage, layered
    return None


def _placed(rng: np.random.Generator, outline: np.ndarray, width: int, height: int) -> np.ndarray:
    """Turn, scale and move an outline to a random place inside the picture."""
    angle = rng.uniform(-_MOST_TURN, _MOST_TURN)
    turned = outline @ np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    scaled = turned * rng.uniform(*_SIDES) * min(width, height) / np.ptp(turned, axis=0).max()
    return scaled - scaled.min(axis=0) + rng.uniform(0, 1, 2) * ((width, height) - np.ptp(scaled, axis=0))


def _coverage(outline: np.ndarray, width: int, height: int) -> np.ndarray:
    """Give how much of each pixel [H, W], 0..1, lies in the outline."""
    canvas = Image.new("L", (width * _OVERSAMPLING, height * _OVERSAMPLING))
    ImageDraw.Draw(canvas).polygon([(x, y) for x, y in outline * _OVERSAMPLING - 0.5], fill=255)
    return np.asarray(canvas.reduce(_OVERSAMPLING), np.float32) / 255


def _with_on_top(shapes: Sequence[Shape], top: Shape) -> list[Shape]:
    return [*(Shape(each.name, each.whole, each.visible & ~top.whole) for each in shapes), top]


def _background(rng: np.random.Generator, width: int, height: int) -> tuple[np.ndarray, list[_Colour]]:
    """Mix two dull colours by a random texture; give the pixels [H, W, 3], 0..1, and the colours."""
    colours = [_colour(rng, saturation=(0, 0.4), value=(0.15, 0.85)) for _ in range(2)]
    texture = _TEXTURES[rng.integers(len(_TEXTURES))](rng, width, height).astype(np.float32)
    first, second = np.array(colours, np.float32)
    return first + texture[..., None] * (second - first), colours


def _noise(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Give a texture [H, W], 0..1, of spots of one random size."""
    spot = int(rng.integers(2, 40))
    coarse = rng.integers(0, 256, (height // spot + 2, width // spot + 2), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)) / 255


def _stripes(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    period = rng.uniform(8, 60)
    return 0.5 + 0.5 * np.sin(_along(rng, width, height) * 2 * math.pi / period)


def _gradient(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    ramp = _along(rng, width, height)
    return (ramp - ramp.min()) / np.ptp(ramp)


def _checker(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    side, shift = rng.integers(8, 48), rng.integers(0, 48, 2)
    rows, columns = np.mgrid[:height, :width]
    return (((rows + shift[0]) // side + (columns + shift[1]) // side) % 2).astype(np.float64)


_TEXTURES = (_noise, _stripes, _gradient, _checker)


def _along(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Give the pixels' distances [H, W] along a random direction."""
    angle = rng.uniform(0, math.pi)
    rows, columns = np.mgrid[:height, :width]
    return columns * math.cos(angle) + rows * math.sin(angle)


def _colour(rng: np.random.Generator, *, saturation: tuple[float, float], value: tuple[float, float]) -> _Colour:
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))


def _distinct_colour(rng: np.random.Generator, used: Sequence[_Colour]) -> _Colour:
    """Draw some colours and take the one furthest from all that are used."""
    drawn = [_colour(rng, saturation=(0.3, 1), value=(0.2, 1)) for _ in range(5)]
    return max(drawn, key=lambda colour: min(math.dist(colour, other) for other in used))


def _paint(rng: np.random.Generator, pixels: np.ndarray, coverage: np.ndarray, colour: _Colour) -> None:
    """Lay a colour over the pixels that it covers, in light that falls from one side."""
    x1, y1, x2, y2 = _extent(coverage > 0)
    region, share = pixels[y1:y2, x1:x2], coverage[y1:y2, x1:x2, None]
    light = 1 + rng.uniform(0, 0.5) * (_gradient(rng, x2 - x1, y2 - y1) - 0.5)
    region += share * (light[..., None] * np.array(colour, np.float32) - region)


def _extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _annotation(picture: Path, pixels: np.ndarray, shapes: Sequence[Shape]) -> Annotation:
    return Annotation(
        image=picture,
        width=pixels.shape[1],
        height=pixels.shape[0],
        boxes=np.array([each.box for each in shapes], np.float32).reshape(-1, 4),
        names=tuple(each.name for each in shapes),
        truncated=np.array([each.box != _extent(each.whole) for each in shapes], np.bool_),
    )


def _voc_xml(annotation: Annotation) -> bytes:
    """Write an annotation as Pascal VOC has it: pixels from 1, the last one included."""
    root = etree.Element("annotation")
    _add(root, folder=annotation.image.parent.name, filename=annotation.image.name)
    _add(etree.SubElement(root, "size"), width=annotation.width, height=annotation.height, depth=3)
    assert annotation.truncated is not None  # an Annotation fills it in
    for box, name, truncated in zip(annotation.boxes.tolist(), annotation.names, annotation.truncated, strict=True):
        entry = etree.SubElement(root, "object")
        _add(entry, name=name, pose="Unspecified", truncated=int(truncated), difficult=0)
        x1, y1, x2, y2 = (int(side) for side in box)
        _add(etree.SubElement(entry, "bndbox"), xmin=x1 + 1, ymin=y1 + 1, xmax=x2, ymax=y2)
    return etree.tostring(root, pretty_print=True)


def _add(parent: etree._Element, **texts: object) -> None:
    for tag, text in texts.items():
        etree.SubElement(parent, tag).text = str(text)
