"""``drawn/``: each picture with its detections on it, beside its ground truth where that is known."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from odml.detection_outputs.contract import Output, Result
from odml.detection_outputs.whole_files import write_whole
from odml.drawing import beside, draw_annotation, draw_detections
from odml.structures import LabelMap

# A PNG of a photo takes ten to fifteen times as long.
_QUALITY = 90
_LARGEST_JPEG = 65_500  # pixels a side


class Drawn(Output):
    """A JPEG for each picture, named as the picture is."""

    def write(self, result: Result) -> None:
        """Draw one picture."""
        write_whole(self.path_of(result), encode(drawn(result, self.setup.label_map)))

    def has(self, result: Result) -> bool:
        """Say whether the picture is drawn."""
        return self.path_of(result).is_file()

    def path_of(self, result: Result) -> Path:
        """Give the place of the drawn picture."""
        return self.setup.folder / "drawn" / f"{self.setup.names.stem(result.name)}.jpg"


def drawn(result: Result, label_map: LabelMap) -> Image.Image:
    """Draw the detections, and the ground truth beside them where it is known."""
    assert result.image is not None
    picture = draw_detections(result.image, result.detections, label_map)
    if result.truth is None:
        return picture
    unknown = sorted(set(result.truth.names) - set(label_map.names))
    return beside(draw_annotation(result.image, result.truth, LabelMap((*label_map.names, *unknown))), picture)


def encode(picture: Image.Image, *, quality: int = _QUALITY) -> bytes:
    """Encode as JPEG; as PNG what is too large for that, which viewers show all the same."""
    encoded = io.BytesIO()
    if max(picture.size) > _LARGEST_JPEG:
        picture.save(encoded, "PNG", compress_level=1)
    else:
        picture.save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()
