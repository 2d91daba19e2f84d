"""A row of a request -> its picture: out of the row itself, or from where the operator lets the server read."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from odml.errors import ImageError
from odml.images import read_image
from odml.serving.addresses import fetch
from odml.serving.bad_request import quoted
from odml.serving.limits import Allowed, Limits

IMAGE, PATH, URL = COLUMNS = ("image", "path", "url")

_DATA_URI = re.compile(r"data:[\w/+.-]*;base64,")
_LINE_ENDS = str.maketrans("", "", " \r\n")
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]+={0,2}\s*")


class PictureReader:
    """Reads rows of the columns ``image``, ``path`` and ``url``, one of which each row has."""

    def __init__(self, limits: Limits, allowed: Allowed) -> None:
        self._limits = limits
        self._allowed = allowed

    def read(self, row: Mapping[str, object], *, where: str) -> np.ndarray:
        """Give a row's picture, uint8 [H, W, 3] RGB, upright.

        Raises:
            ImageError: it has none, it is too large or no picture, or it may not be read.
        """
        given = {column: row[column] for column in COLUMNS if not _is_missing(row.get(column))}
        if len(given) != 1:
            raise ImageError(f"{where}: has {' and '.join(given) or 'no picture'}; send one of {', '.join(COLUMNS)}")
        ((column, value),) = given.items()
        encoded = {IMAGE: self._of_row, PATH: self._of_file, URL: self._of_address}[column](value, where)
        return read_image(encoded, where=where, max_pixels=self._limits.max_pixels)

    def _of_row(self, value: object, where: str) -> bytes:
        if not isinstance(value, (str, bytes, bytearray)):
            raise ImageError(f"{where}: the image is {type(value).__name__}; send a picture's bytes as base64 text")
        # Base64 has four letters for three bytes, and may have line ends.
        self._require_size(len(value) * (0.72 if isinstance(value, str) else 1), where)
        return _of_text(value, where) if isinstance(value, str) else _of_bytes(bytes(value))

    def _of_file(self, value: object, where: str) -> bytes:
        if not self._allowed.folders:
            raise ImageError(f"{where}: this server reads no files of its own; send the picture in the column {IMAGE}")
        path = self._allowed_file(value)
        if path is None:
            raise ImageError(f"{where}: {quoted(value)} is no file that this server may read; send another path")
        self._require_size(path.stat().st_size, where)
        return path.read_bytes()

    def _allowed_file(self, value: object) -> Path | None:
        """Give a file below one of the folders; that it is outside looks like that it is not there."""
        if not isinstance(value, str) or "\0" in value:
            return None
        for folder in self._allowed.folders:
            path = Path(os.path.realpath(folder / value))
            try:
                if path.is_relative_to(folder) and stat.S_ISREG(path.stat().st_mode):
                    return path
            except OSError:
                continue
        return None

    def _of_address(self, value: object, where: str) -> bytes:
        if not self._allowed.addresses:
            raise ImageError(f"{where}: this server fetches no addresses; send the picture in the column {IMAGE}")
        if not isinstance(value, str):
            raise ImageError(f"{where}: the url is {type(value).__name__}; send text")
        return fetch(value, allowed=self._allowed.addresses, max_bytes=self._limits.max_image_bytes, where=where)

    def _require_size(self, size: float, where: str) -> None:
        if size > self._limits.max_image_bytes:
            raise ImageError(f"{where}: has more than {self._limits.max_image_bytes} bytes; send a smaller picture")


def _is_missing(value: object) -> bool:
    """Say whether a row has nothing in a column; tables show that as null, or as a number that is none."""
    return value is None or (isinstance(value, float) and np.isnan(value))


def _of_text(text: str, where: str) -> bytes:
    if (prefix := _DATA_URI.match(text)) is not None:
        text = text[prefix.end() :]
    try:
        return base64.b64decode(text.translate(_LINE_ENDS), validate=True)
    except (binascii.Error, ValueError):
        raise ImageError(f"{where}: the image is no base64 text; encode the picture's bytes as base64") from None


def _of_bytes(value: bytes) -> bytes:
    """Give a picture's bytes, decoded if they are base64: no picture format has letters and digits only."""
    if _BASE64.fullmatch(value):
        try:
            return base64.b64decode(value)
        except binascii.Error:
            pass
    return value
