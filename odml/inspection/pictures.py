"""What a picture file is, apart from what it shows: how it is stored, what is odd about it, a hash of its pixels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from odml.annotations.draft import Problem, Severity
from odml.images import Stored, read_image, stored_as
from odml.inspection.looks import look_of

# More than any network sees of one picture, and minutes of decoding in every epoch.
HUGE = 40_000_000  # pixels

_FORMAT_OF_SUFFIX = {".bmp": "BMP", ".gif": "GIF", ".jpeg": "JPEG", ".jpg": "JPEG", ".png": "PNG"}


@dataclass(frozen=True)
class Picture:
    """A picture that can be decoded; ``width`` and ``height`` are the upright picture's.

    ``orientation`` is its EXIF orientation, 1 to 8; ``digest`` is the same for two files that show the same pixels,
    whatever they are called and however they are stored; ``look`` is its hash in `odml.inspection.looks`.
    """

    path: Path
    width: int
    height: int
    orientation: int
    digest: str
    look: bytes
    problems: tuple[Problem, ...]


def look_at_picture(path: Path, *, where: str) -> Picture:
    """Decode a picture and say what is odd about it.

    Raises:
        ImageError: it cannot be decoded.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    pixels = read_image(data, where=where)
    stored = stored_as(data, where=where)
    height, width, _ = pixels.shape
    oddities = _oddities(stored, suffix=path.suffix.lower(), width=width, height=height)
    problems = tuple(Problem(where, None, message, severity, kind, image=path) for kind, severity, message in oddities)
    return Picture(path, width, height, stored.orientation, _digest(pixels), look_of(pixels), problems)


def _oddities(stored: Stored, *, suffix: str, width: int, height: int) -> list[tuple[str, Severity, str]]:
    """Give the kind, the severity and the message of each thing that is odd."""
    found: list[tuple[str, Severity, str]] = []
    if stored.format != _FORMAT_OF_SUFFIX.get(suffix):
        message = f"holds a {stored.format} picture, not what {suffix} stands for; it is read as what it is"
        found.append(("picture with another's suffix", "note", message))
    if stored.orientation != 1:
        message = f"is turned upright by its EXIF orientation {stored.orientation}; its boxes must be of that view"
        found.append(("picture that EXIF turns", "note", message))
    if stored.bits == 16:
        found.append(("16-bit picture", "note", "has 16 bits a channel; the upper 8 are used"))
    if stored.mode.startswith(("1", "L", "I", "F")):
        found.append(("grey picture", "note", "is grey; it is read as RGB with three equal channels"))
    if stored.mode == "CMYK":
        message = "is stored for print (CMYK); its colours are converted without a profile, look at them"
        found.append(("CMYK picture", "note", message))
    if stored.transparent:
        found.append(("transparent picture", "note", "has transparent parts; they are shown on white"))
    if stored.frames > 1:
        message = f"is an animation of {stored.frames} frames; only the first is used, save the others as pictures"
        found.append(("animated picture", "warning", message))
    if width * height > HUGE:
        message = f"has {width}x{height} pixels, of which a network sees some hundred a side; cut it into tiles"
        found.append(("huge picture", "warning", message))
    return found


def _digest(pixels: np.ndarray) -> str:
    digest = hashlib.sha256(str(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
