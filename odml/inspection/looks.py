"""Which pictures look alike: a perceptual hash of each, and groups of those whose hashes differ little.

The hash is that of the discrete cosine transform (Zauner, "Implementation and Benchmarking of Perceptual Image Hash
Functions", 2010, section 3.2.1), of 16 x 16 frequencies. Of 564 photos, copies saved as JPEG of quality 40 to 90, some
half or twice the size or squeezed to a square, differ from the original in up to 8 of the 256 bits; with a line of text
laid over it, or photographed again, in 22 and 26; photos of other things in 90 and more.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

LOOK_BYTES = 32
MOST_BITS = 32  # by which two pictures that look alike differ

_SIDE, _FREQUENCIES = 32, 16
_LEAST_CONTRAST = 3.0  # grey levels; what varies less is a plain colour, which looks like any other
_ROWS_AT_A_TIME = 256
# In whole numbers, whose sums are the same on any machine.
_WAVES = np.round(
    np.cos(np.pi * np.arange(_FREQUENCIES)[:, None] * (2 * np.arange(_SIDE) + 1) / (2 * _SIDE)) * 1024
).astype(np.int64)


def look_of(pixels: np.ndarray) -> bytes:
    """Give the hash of what a picture [H, W, 3] shows, 32 bytes; no bytes if it shows next to nothing."""
    small = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    grey = np.asarray(small.convert("L"), np.int64)
    if grey.std() < _LEAST_CONTRAST:
        return b""
    frequencies = (_WAVES @ grey @ _WAVES.T).ravel()
    return np.packbits(frequencies > np.median(frequencies[1:])).tobytes()


def group_alike(looks: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """Give for each of N pictures the number of the first one that it looks like, directly or by way of others.

    Only pictures are compared whose hashes agree in one of their 16 parts of 16 bits. If they differ in fewer than 16
    bits, they do; if in 32, six of seven times.

    Args:
        looks: hashes as `look_of` gives them, uint8 [N, 32]; all 0 for none.
        digests: of the pixels, of any type that can be sorted [N]; pictures with the same look alike in any case.
    """
    groups = _Groups(len(looks))
    _, firsts, places = np.unique(digests, return_index=True, return_inverse=True)
    for row in np.flatnonzero(firsts[places] != np.arange(len(looks))).tolist():
        groups.join(row, firsts[places[row]])
    rows = np.flatnonzero(looks.any(axis=1))
    unique, first_rows, places = np.unique(looks[rows], axis=0, return_index=True, return_inverse=True)
    for row, first in zip(rows.tolist(), rows[first_rows[places.ravel()]].tolist(), strict=True):
        groups.join(row, first)
    words = np.ascontiguousarray(unique).view(np.uint64)
    for part in np.ascontiguousarray(unique).view(np.uint16).T:
        order = np.argsort(part, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
            if len(members) > 1:
                _join_alike(members, words, rows[first_rows], groups)
    return groups.firsts()


def _join_alike(members: np.ndarray, words: np.ndarray, rows: np.ndarray, groups: _Groups) -> None:
    """Join the pictures that look alike among some hashes, whose numbers are ``members`` [M]."""
    for begin in range(0, len(members), _ROWS_AT_A_TIME):
        some = members[begin : begin + _ROWS_AT_A_TIME]
        bits = np.bitwise_count(words[some, None] ^ words[members[begin:]]).sum(axis=-1, dtype=np.uint32)
        for one, other in zip(*np.nonzero(np.triu(bits <= MOST_BITS, k=1)), strict=True):
            groups.join(rows[some[one]], rows[members[begin + other]])


class _Groups:
    """Sets of numbers below a count, joined one pair at a time; each is known by its smallest member."""

    def __init__(self, count: int) -> None:
        self._parents = np.arange(count, dtype=np.int64)

    def join(self, one: int, other: int) -> None:
        one, other = self._first(one), self._first(other)
        self._parents[max(one, other)] = min(one, other)

    def _first(self, number: int) -> int:
        while (parent := self._parents[number]) != number:
            self._parents[number] = self._parents[parent]
            number = parent
        return int(number)

    def firsts(self) -> np.ndarray:
        """Give each number's smallest companion, itself if there is no smaller one, int [N]."""
        while not np.array_equal(self._parents[self._parents], self._parents):
            self._parents = self._parents[self._parents]
        return self._parents
