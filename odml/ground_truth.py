"""What people have drawn on the pictures of a folder, read picture by picture, to be shown beside what was detected."""

from __future__ import annotations

import logging
from pathlib import Path

from odml import annotations as annotation_formats
from odml.errors import AnnotationError, ImageError
from odml.image_index import ImageIndex
from odml.images import list_images, stored_as
from odml.inspection.fitting import fit
from odml.inspection.pictures import Picture
from odml.structures import Annotation

_log = logging.getLogger(__name__)


class GroundTruth:
    """The annotations of the pictures below a folder; only which file is which picture's is remembered.

    Args:
        annotations: the folder or file that holds them, of a format that odml knows.
        folder: the folder of the pictures.
    Raises:
        AnnotationError: nothing can be made of the annotations, or they are of none of the pictures.
    """

    def __init__(self, annotations: Path, folder: Path) -> None:
        index = ImageIndex(folder, list_images(folder)[0])
        self._index = index
        self._entries = annotation_formats.read(annotations, index).entries
        self._of: dict[int, int] = {}  # by the numbers of the pictures: the first of their entries
        for number, entry in enumerate(self._entries):
            found = index.find(entry.read().image_names, beside=entry.beside)
            if len(found) == 1:
                self._of.setdefault(index.images.number_of(found[0]), number)
        if not self._of:
            raise AnnotationError(f"{annotations}: annotates no picture of {folder}; give those of these pictures")
        _log.info("annotations: those of %d of %d pictures", len(self._of), len(index))

    def of(self, image: Path, *, width: int, height: int) -> Annotation | None:
        """Give the ground truth of an upright picture of that size; objects that cannot be used are left out.

        None if it has no annotation, or is none of the folder's pictures.
        """
        try:
            number = self._of.get(self._index.images.number_of(image))
            if number is None:
                return None
            orientation = stored_as(image).orientation
        except (KeyError, ImageError):
            return None
        entry = self._entries[number]
        picture = Picture(image, width, height, orientation, digest="", look=b"", problems=())
        return fit(entry.read(), picture, entry.where, fix="clip").annotation(picture)
