"""Pictures as odml sees them, by one rule for prepare, evaluate, detect and serving.

**The rule: odml sees a picture as a viewer shows it**: upright by its EXIF orientation, 8-bit RGB, transparent parts
on white, the first frame of an animation. Colour profiles are not applied.

**Boxes follow it.** A box belongs to the upright picture. But if an annotation states the stored, unturned size, its
width and height swapped against the upright picture, then its boxes were drawn on the stored pixels, and `turn_boxes`
turns them along with the picture. (A picture whose orientation keeps its width and height cannot be told apart
this way; its boxes are taken as upright.)
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from odml.errors import ImageError
from odml.listing import Listing, list_files

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")

# By content, not by suffix: pictures saved from the web are often WebP under another name. Pillow's other
# readers are kept out: some start programs (EPS) or are rarely exercised on hostile bytes.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
_JPEG_QUALITY = 95
_NOT_TURNED = 1
_BIT_DEPTH = 24
_BIT_DEPTH_AND_COLOUR = slice(24, 26)  # of a PNG's bytes: the PNG specification, 11.2.1 IHDR
_PLAIN_PNG = (b"\x08\x00", b"\x08\x02")  # 8-bit grey, 8-bit RGB


def list_images(folder: Path) -> tuple[Listing, Listing]:
    """List the pictures below a folder, nested ones too, and the other files.

    A picture is known by its suffix in any case (`SUFFIXES`). Hidden files and folders (``.name``) are in neither list.
    """
    files = list_files(folder)
    return files.only(_is_image), files.only(lambda name: not _is_image(name))


def find_images(folder: Path) -> tuple[list[Path], list[Path]]:
    """Give the same two lists as paths that are kept."""
    images, others = list_images(folder)
    return list(images), list(others)


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def read_image(source: Path | bytes, *, where: str | None = None, max_pixels: int | None = None) -> np.ndarray:
    """Read a picture by the rule above, uint8 [H, W, 3] RGB.

    Args:
        source: a file, or the encoded bytes of one.
        where: what an error message calls the picture; default the path, or "image".
        max_pixels: the most that are decoded; None: as many as Pillow thinks safe.
    Raises:
        ImageError: missing, no picture of a known format, truncated, or too large to be decoded safely.
    """
    with _opened(source, where) as (image, _):
        _require_size(image, max_pixels)
        return np.asarray(_shown(image))


def encode_upright(source: Path | bytes, *, where: str | None = None) -> tuple[bytes, str, int, int]:
    """Encode a picture so that any JPEG or PNG decoder sees what the rule shows.

    The stored bytes are passed on if they already do: a grey or RGB JPEG, or an 8-bit grey or RGB PNG, that no EXIF
    orientation turns. Anything else is encoded anew: a JPEG as JPEG of quality 95, the rest as PNG.
    Bytes that are passed on are not decoded: `read_image` tells whether they can be.

    Returns:
        The encoded bytes, their format ("jpeg" or "png"), and the upright width and height.
    Raises:
        ImageError: as `read_image` does.
    """
    with _opened(source, where) as (image, stored):
        image_format = "jpeg" if image.format in ("JPEG", "MPO") else "png"
        if _is_plain(image, stored):
            return stored, image_format, image.width, image.height
        shown = _shown(image)
        encoded = io.BytesIO()
        shown.save(encoded, image_format, quality=_JPEG_QUALITY)
        return encoded.getvalue(), image_format, shown.width, shown.height


@dataclass(frozen=True)
class Stored:
    """How a picture is stored, which the rule hides: its format and mode as Pillow names them, and what it has.

    ``orientation`` is the EXIF orientation, 1 to 8; 1, "as stored", where it has none or an unknown one. ``bits`` is 16
    for pictures of 16 bits a channel, else 8. A JPEG with further pictures in it, as cameras write it, has one frame.
    """

    format: str
    mode: str
    orientation: int
    bits: int
    frames: int
    transparent: bool


def stored_as(source: Path | bytes, *, where: str | None = None) -> Stored:
    """Say how a picture is stored, without decoding it.

    Raises:
        ImageError: missing or no picture of a known format.
    """
    with _opened(source, where) as (image, stored):
        is_jpeg = image.format in ("JPEG", "MPO")
        deep = image.mode.startswith("I") or (image.format == "PNG" and stored[_BIT_DEPTH] == 16)
        return Stored(
            format="JPEG" if is_jpeg else str(image.format),
            mode=image.mode,
            orientation=_orientation(image),
            bits=16 if deep else 8,
            frames=1 if is_jpeg else getattr(image, "n_frames", 1),
            transparent=image.has_transparency_data,
        )


def turn_boxes(boxes: np.ndarray, orientation: int, *, width: int, height: int) -> np.ndarray:
    """Turn boxes drawn on the stored pixels along with a picture that its EXIF orientation lays on its side.

    Args:
        boxes: [N, 4] xyxy pixels, half-open, of the stored picture.
        orientation: 5 to 8, those that swap width and height.
        width: of the stored, unturned picture; so is ``height``.
    Returns:
        [N, 4] xyxy pixels of the upright picture, which is ``height`` wide and ``width`` high.
    """
    x1, y1, x2, y2 = boxes.T
    turned = {
        5: (y1, x1, y2, x2),  # mirrored along the main diagonal
        6: (height - y2, x1, height - y1, x2),  # a quarter clockwise
        7: (height - y2, width - x2, height - y1, width - x1),  # mirrored along the other diagonal
        8: (y1, width - x2, y2, width - x1),  # a quarter counterclockwise
    }[orientation]
    return np.stack(turned, axis=1)


@contextmanager
def _opened(source: Path | bytes, where: str | None) -> Iterator[tuple[Image.Image, bytes]]:
    name = where or (str(source) if isinstance(source, Path) else "image")
    try:
        stored = source.read_bytes() if isinstance(source, Path) else source
        if not stored:
            raise EOFError("it is empty")
        with Image.open(io.BytesIO(stored), formats=_FORMATS) as image:
            yield image, stored
    # On damaged files Pillow's decoders let out whatever they stumble on: SyntaxError, IndexError, struct.error, ...
    except Exception as error:
        raise ImageError(
            f"{name}: cannot be read as a picture ({_reason(error)}); replace it by a JPEG, PNG, GIF or BMP file"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its content is of no known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _require_size(image: Image.Image, max_pixels: int | None) -> None:
    if max_pixels is not None and image.width * image.height > max_pixels:
        raise ValueError(f"{image.width} x {image.height} pixels are more than {max_pixels}")


def _orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(ExifTags.Base.Orientation, _NOT_TURNED)
    return orientation if orientation in range(1, 9) else _NOT_TURNED


def _is_plain(image: Image.Image, stored: bytes) -> bool:
    if _orientation(image) != _NOT_TURNED:
        return False
    if image.format == "PNG":
        return stored[_BIT_DEPTH_AND_COLOUR] in _PLAIN_PNG and "transparency" not in image.info
    return image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")


def _shown(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
