"""Boxes with class and score on pictures, and pictures side by side, with Pillow.

A drawn picture has the size of the original, but for one whose shorter side is under 96 pixels: no tag could be
read on that, so it is first enlarged by a whole number. Lines and letters grow with the picture, and shrink where many
objects would hide it under their tags. Nothing here changes what it is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import font_manager, ft2font
from PIL import Image, ImageDraw, ImageFont

from odml.structures import Annotation, Detections, LabelMap

# Okabe and Ito's colours, which people of any colour vision can tell apart, but black
# (Color Universal Design, 2008, https://jfly.uni-koeln.de/color/).
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_DARK, _LIGHT = (0, 0, 0), (255, 255, 255)
_SHORTEST_SIDE = 96
_LONGEST_ENLARGED_SIDE = 4096
_SMALLEST_LETTERS = 11
_HIDDEN_SHARE = 0.15  # of a picture, by all tags together
_TAG_AREA = 8.4  # of a usual tag, about six letters wide and 1.4 high

_Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in the drawn picture, half-open
_Colour = tuple[int, int, int]


def draw_detections(image: np.ndarray, detections: Detections, label_map: LabelMap) -> Image.Image:
    """Draw every detection with its class and score, the best on top.

    Args:
        image: uint8 [H, W, 3].
        detections: of that image; ``Detections.best`` chooses what is worth drawing.
        label_map: names the classes; an id that it does not have raises KeyError.
    """
    rows = zip(detections.boxes.tolist(), detections.classes.tolist(), detections.scores.tolist(), strict=True)
    marks = [_Mark(box, class_id, label_map.name_of(class_id), score=f" {score:.2f}") for box, class_id, score in rows]
    return _draw(image, marks)


def draw_annotation(image: np.ndarray, annotation: Annotation, label_map: LabelMap) -> Image.Image:
    """Draw every ground truth object with its class; difficult ones with thin, dashed lines.

    Args:
        image: uint8 [H, W, 3].
        annotation: of that image.
        label_map: gives the classes their colours; a name that it does not have raises KeyError.
    """
    assert annotation.difficult is not None  # an Annotation fills it in
    rows = zip(annotation.boxes.tolist(), annotation.names, annotation.difficult.tolist(), strict=True)
    return _draw(image, [_Mark(box, label_map.id_of(name), name, dashed=dashed) for box, name, dashed in rows])


def beside(*pictures: Image.Image, captions: Sequence[str] = ("ground truth", "detections")) -> Image.Image:
    """Put pictures beside each other on white, each under its caption.

    Raises ValueError if there is not a caption a picture.
    """
    font = _font(_own_font(), _font_size(pictures[0].size))
    gap = round(font.size)
    columns = [max(each.width, math.ceil(font.getlength(text))) for each, text in zip(pictures, captions, strict=True)]
    header = 2 * gap
    size = (sum(columns) + (len(columns) + 1) * gap, header + max(each.height for each in pictures) + gap)
    sheet = Image.new("RGB", size, _LIGHT)
    draw = ImageDraw.Draw(sheet)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x = sum(columns[:number]) + (number + 1) * gap
        draw.text((x, header // 2), caption, _DARK, font, anchor="lm")
        sheet.paste(picture, (x, header))
    return sheet


def grid(images: Sequence[Image.Image], *, columns: int = 4, cell: int = 400) -> Image.Image:
    """Make a contact sheet: row by row, on white, larger pictures scaled down to ``cell`` x ``cell`` pixels.

    Raises ValueError without a picture or a column.
    """
    if not images or columns < 1:
        raise ValueError(f"grid needs pictures and columns, not {len(images)} and {columns}")
    fitted = [_scaled_down(each, cell) for each in images]
    rows = [fitted[start : start + columns] for start in range(0, len(fitted), columns)]
    width, gap = max(each.width for each in fitted), 8
    heights = [max(each.height for each in row) for row in rows]
    sheet = Image.new("RGB", (len(rows[0]) * (width + gap) + gap, sum(heights) + gap * (len(rows) + 1)), _LIGHT)
    for number, row in enumerate(rows):
        top = sum(heights[:number]) + gap * (number + 1)
        for column, picture in enumerate(row):
            sheet.paste(picture, (gap + column * (width + gap), top))
    return sheet


def html_colour(class_id: int) -> str:
    """Give the colour that a class, an id from 1, has in drawn pictures, as pages write it: ``#rrggbb``."""
    return "#" + bytes(_colour_of(class_id)).hex()


def _colour_of(class_id: int) -> _Colour:
    return PALETTE[(class_id - 1) % len(PALETTE)]


@dataclass(frozen=True)
class _Mark:
    """One object to draw; ``box`` is in pixels of the original picture."""

    box: list[float]
    class_id: int
    name: str
    score: str = ""
    dashed: bool = False

    @property
    def colour(self) -> _Colour:
        return _colour_of(self.class_id)


def _draw(image: np.ndarray, marks: Sequence[_Mark]) -> Image.Image:
    """Draw boxes, then all tags over them; the first mark is the most important and comes out on top."""
    picture, factor = _enlarged(Image.fromarray(image))
    draw = ImageDraw.Draw(picture)
    letters = _font_size(picture.size, tags=len(marks))
    boxes = [_drawn_box(mark.box, factor, picture.size) for mark in marks]
    for mark, box in reversed(list(zip(marks, boxes, strict=True))):
        _draw_box(draw, box, mark, width=_line_width(letters))
    tags: list[tuple[_Box, _Mark, str]] = []
    for mark, box in zip(marks, boxes, strict=True):
        text, size = _tag(mark, letters, room=picture.width)
        tags.append((_free_place(box, size, picture.size, [place for place, _, _ in tags]), mark, text))
    for place, mark, text in reversed(tags):
        _draw_tag(draw, place, mark, text, letters)
    return picture


def _enlarged(picture: Image.Image) -> tuple[Image.Image, int]:
    shorter, longer = sorted(picture.size)
    factor = max(1, min(math.ceil(_SHORTEST_SIDE / shorter), _LONGEST_ENLARGED_SIDE // longer))
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST) if factor > 1 else picture, factor


def _drawn_box(box: list[float], factor: int, size: tuple[int, int]) -> _Box:
    """Round a box to the pixels of the drawn picture, at least one and none outside."""
    x1, y1 = (min(max(round(low * factor), 0), side - 1) for low, side in zip(box[:2], size, strict=True))
    x2, y2 = (min(max(round(high * factor), 1), side) for high, side in zip(box[2:], size, strict=True))
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _font_size(size: tuple[int, int], *, tags: int = 1) -> int:
    """Give the height of letters in a picture of that size, such that many tags hide no more than a part of it."""
    share = math.sqrt(_HIDDEN_SHARE * size[0] * size[1] / (_TAG_AREA * max(tags, 1)))
    return max(_SMALLEST_LETTERS, round(min(0.032 * min(size), share)))


def _line_width(letters: int) -> int:
    return max(2, round(letters * 0.1875))


def _draw_box(draw: ImageDraw.ImageDraw, box: _Box, mark: _Mark, *, width: int) -> None:
    """Draw the outline inside the box; what is dark beside or in it shows it on a ground of its own colour."""
    if mark.dashed:
        thin = max(1, width * 2 // 3)
        draw.rectangle(_corners(box), outline=_DARK, width=thin)
        for dash in _dashes(box, thin, 4 * width):
            draw.rectangle(_corners(dash), mark.colour)
    else:
        edge = max(1, width // 4)
        draw.rectangle(_corners(box, margin=edge), outline=_DARK, width=width + 2 * edge)
        draw.rectangle(_corners(box), outline=mark.colour, width=width)


def _corners(box: _Box, *, margin: int = 0) -> tuple[int, int, int, int]:
    """Give the corners of the box and a margin for Pillow, whose rectangles include the last pixel."""
    x1, y1, x2, y2 = box
    return x1 - margin, y1 - margin, x2 - 1 + margin, y2 - 1 + margin


def _dashes(box: _Box, width: int, length: int) -> Iterator[_Box]:
    """Cut the outline of a box into dashes with gaps of the same length."""
    x1, y1, x2, y2 = box
    for x in range(x1, x2, 2 * length):
        end = min(x + length, x2)
        yield from ((x, y1, end, min(y1 + width, y2)), (x, max(y2 - width, y1), end, y2))
    for y in range(y1, y2, 2 * length):
        end = min(y + length, y2)
        yield from ((x1, y, min(x1 + width, x2), end), (max(x2 - width, x1), y, x2, end))


def _tag(mark: _Mark, letters: int, *, room: int) -> tuple[str, tuple[int, int]]:
    """Give a tag's text, the name cut where there is no room for it, and the tag's width and height."""
    font, padding = _tag_font(mark, letters)
    name, ending = _readable(mark), ""
    while name and font.getlength(name + ending + mark.score) > room - 2 * padding:
        name, ending = name[:-1], "…"
    text = name + ending + mark.score
    return text, (math.ceil(font.getlength(text)) + 2 * padding, sum(font.getmetrics()) + padding)


def _free_place(box: _Box, tag: tuple[int, int], size: tuple[int, int], taken: Sequence[_Box]) -> _Box:
    """Give the place at the box, inside the picture, where a tag hides least of the tags that are there already."""
    x1, y1, x2, y2 = box
    width, height = tag
    corners = [(x, y) for x in (x1, x2 - width) for y in (y1 - height, y1, y2, y2 - height)]
    inside = [(max(0, min(x, size[0] - width)), max(0, min(y, size[1] - height))) for x, y in corners]
    places = [(x, y, x + width, y + height) for x, y in inside]
    return min(places, key=lambda place: sum(_overlap(place, other) for other in taken))


def _overlap(box: _Box, other: _Box) -> int:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(width, 0) * max(height, 0)


def _draw_tag(draw: ImageDraw.ImageDraw, place: _Box, mark: _Mark, text: str, letters: int) -> None:
    font, padding = _tag_font(mark, letters)
    draw.rectangle(_corners(place), mark.colour)
    ink = max((_DARK, _LIGHT), key=lambda ink: _contrast(ink, mark.colour))
    draw.text((place[0] + padding, place[1] + padding // 2), text, ink, font)


def _contrast(colour: _Colour, other: _Colour) -> float:
    """Give the contrast ratio, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    darker, lighter = sorted((_luminance(colour), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: _Colour) -> float:
    """Give the relative luminance, 0 to 1, of an sRGB colour (WCAG 2.2, "relative luminance")."""
    parts = [part / 255 for part in colour]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _scaled_down(picture: Image.Image, cell: int) -> Image.Image:
    fitted = picture.copy()
    fitted.thumbnail((cell, cell), Image.Resampling.LANCZOS)
    return fitted


def _tag_font(mark: _Mark, letters: int) -> tuple[ImageFont.FreeTypeFont, int]:
    """Give the font for a mark in letters of that height, and the space on the left and right of its text."""
    return _font(font_path(mark.name) or _own_font(), letters), max(2, letters // 4)


def _readable(mark: _Mark) -> str:
    """Give the mark's name on one line, or "class ID" where no font here has its letters."""
    return " ".join(mark.name.split()) if font_path(mark.name) else f"class {mark.class_id}"


@cache
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def _own_font() -> str:
    """Give the path of the font that comes with matplotlib: Latin, Greek, Cyrillic, Hebrew, Arabic letters and more."""
    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf"))


@cache
def font_path(name: str) -> str | None:
    """Find a font with every letter of the name: our own, else one that is installed, else None."""
    letters = {ord(letter) for letter in name if not letter.isspace()}
    if _has(_own_font(), letters):
        return _own_font()
    return next((path for path in sorted(font_manager.findSystemFonts()) if _has(path, letters)), None)


def _has(path: str, letters: set[int]) -> bool:
    try:
        font = ft2font.FT2Font(path)
    except (OSError, RuntimeError):
        return False  # damaged, or of a kind that FreeType does not know
    # A font of bitmaps, as emoji have, cannot be drawn in any size.
    return bool(font.face_flags & ft2font.FaceFlags.SCALABLE) and letters <= set(font.get_charmap())
