"""Find the picture that an annotation means, however its name was written."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from odml.images import SUFFIXES


class ImageIndex:
    """The pictures of a folder by their paths and names.

    Args:
        folder: the folder of pictures.
        images: the pictures in it, nested ones too.
    """

    def __init__(self, folder: Path, images: Sequence[Path]) -> None:
        self.folder = folder
        self.images = tuple(images)
        self._by_name: defaultdict[str, list[Path]] = defaultdict(list)
        for image in images:
            path = image.relative_to(folder).as_posix()
            for key in {f"path {path}", f"name {image.name}", f"any case {_folded(image.name)}", _stem(image.name)}:
                self._by_name[key].append(image)

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
            for key in _keys(PurePosixPath(name), beside):
                if found := self._by_name.get(key):
                    return self._nearest(found, beside)
        return []

    def find_listed(self, line: str, *, base: Path) -> list[Path]:
        """Find the picture that a line of a list file names: by a path, from ``base`` on or its own, a name or a stem.

        The result is as that of `find`.
        """
        path = (base / line).resolve()
        folder = self.folder.resolve()
        if path.is_relative_to(folder) and (found := self._by_name.get(f"path {path.relative_to(folder).as_posix()}")):
            return found
        return self.find((line.replace("\\", "/"),))

    def _nearest(self, found: list[Path], beside: Sequence[Path]) -> list[Path]:
        for folder in beside:
            if near := [image for image in found if image.parent == self.folder / folder]:
                return near
        return found


def _keys(path: PurePosixPath, beside: Sequence[Path]) -> list[str]:
    return [
        *(f"path {folder.as_posix()}/{path}".replace("path ./", "path ") for folder in beside),
        f"path {path}",
        f"name {path.name}",
        f"any case {_folded(path.name)}",
        _stem(path.name),
    ]


def _stem(name: str) -> str:
    """Give the key of a name without its picture suffix; in "photo.v2" there is none."""
    path = PurePosixPath(name)
    return f"stem {_folded(path.stem if path.suffix.lower() in SUFFIXES else name)}"


def _folded(name: str) -> str:
    # macOS stores "é" as two characters, other systems and labelling tools as one.
    return unicodedata.normalize("NFC", name).casefold()
