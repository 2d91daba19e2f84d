"""Find the picture that an annotation means, however its name was written."""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from odml.images import SUFFIXES
from odml.listing import Listing


class ImageIndex:
    """The pictures of a folder by their paths and names, in some hundred bytes a picture.

    Args:
        folder: the folder of pictures.
        images: the pictures in it, nested ones too, sorted.
    """

    def __init__(self, folder: Path, images: Sequence[Path]) -> None:
        self.folder = folder
        if not isinstance(images, Listing):
            images = Listing(folder, [image.relative_to(folder).as_posix() for image in images])
        self.images = images
        # Of all that a name may be found by, the stem in any case is what they have in common.
        keys = np.fromiter((_key(_stem(_last(name))) for name in images.names), np.uint32, len(images))
        self._order = np.argsort(keys, kind="stable").astype(np.uint32)
        self._keys = keys[self._order]

    def __len__(self) -> int:
        return len(self.images)

    def shown(self, image: Path) -> str:
        """Give a picture's path for people: from the folder's own name on."""
        return image.relative_to(self.folder.parent).as_posix()

    def find(self, names: Sequence[str], *, beside: Sequence[Path] = ()) -> list[Path]:
        """Find the pictures that the first fitting name may mean: one, or several that only a folder tells apart.

        A name fits a path from the folder on, then a file name, then one in another case, then one with another
        suffix or none; folders that a labelling tool wrote and that are not here are passed over. Of several
        pictures, those in the first folder of ``beside`` (below the pictures) that has any win.
        """
        for name in names:
            if found := self._fitting(PurePosixPath(name), beside):
                return [self.folder / each for each in _nearest(found, beside)]
        return []

    def find_listed(self, line: str, *, base: Path) -> list[Path]:
        """Find the picture that a line of a list file names: by a path, from ``base`` on or its own, a name or a stem.

        The result is as that of `find`.
        """
        path = (base / line).resolve()
        folder = self.folder.resolve()
        if path.is_relative_to(folder) and (below := path.relative_to(folder).as_posix()) in self._alike(path.name):
            return [self.folder / below]
        return self.find((line.replace("\\", "/"),))

    def _fitting(self, path: PurePosixPath, beside: Sequence[Path]) -> list[str]:
        alike = self._alike(path.name)
        for whole in (*(f"{folder.as_posix()}/{path}".removeprefix("./") for folder in beside), str(path)):
            if whole in alike:
                return [whole]
        if named := [each for each in alike if _last(each) == path.name]:
            return named
        folded = _folded(path.name)
        if in_any_case := [each for each in alike if _folded(_last(each)) == folded]:
            return in_any_case
        stem = _stem(path.name)
        return [each for each in alike if _stem(_last(each)) == stem]

    def _alike(self, name: str) -> list[str]:
        """Give the pictures whose stems have the same key, in their order."""
        key = np.uint32(_key(_stem(name)))
        first, end = np.searchsorted(self._keys, key), np.searchsorted(self._keys, key, "right")
        return [self.images.names[number] for number in self._order[first:end]]


def _nearest(found: list[str], beside: Sequence[Path]) -> list[str]:
    for folder in beside if len(found) > 1 else ():
        if near := [each for each in found if (each.rpartition("/")[0] or ".") == folder.as_posix()]:
            return near
    return found


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _key(text: str) -> int:
    return zlib.crc32(text.encode(errors="surrogatepass"))


def _stem(name: str) -> str:
    """Give a name in any case without its picture suffix; in "photo.v2" there is none."""
    path = PurePosixPath(name)
    return _folded(path.stem if path.suffix.lower() in SUFFIXES else name)


def _folded(name: str) -> str:
    # macOS stores "é" as two characters, other systems and labelling tools as one.
    return unicodedata.normalize("NFC", name).casefold()
