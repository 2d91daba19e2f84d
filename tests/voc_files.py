"""Small annotated sets, made as labelling tools make them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image


def voc_object(name: str = "cat", *, box: tuple[object, ...] = (1, 1, 10, 10), more: str = "") -> str:
    """Write an <object> with the VOC box xmin, ymin, xmax, ymax and further elements."""
    sides = "".join(
        f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name><bndbox>{sides}</bndbox>{more}</object>"


def voc_xml(*objects: str, filename: str = "", size: tuple[int, int] | None = None) -> str:
    """Write a Pascal VOC file; an empty filename, or no size, leaves the element out."""
    stated = f"<filename>{filename}</filename>" if filename else ""
    if size:
        stated += f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation>{stated}{''.join(objects)}</annotation>"


class AnnotatedFolder:
    """A folder ``images`` and a folder ``annotations`` below a root, to fill one pair at a time."""

    def __init__(self, root: Path) -> None:
        self.images = root / "images"
        self.annotations = root / "annotations"
        self.images.mkdir()
        self.annotations.mkdir()

    def add_image(self, name: str, *, size: tuple[int, int] = (40, 30), orientation: int = 1) -> Path:
        """Save a picture of one colour that its whole name decides."""
        path = self.images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", size, tuple(hashlib.sha256(name.encode()).digest()[:3]))
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture.save(path, exif=exif) if orientation > 1 else picture.save(path)
        return path

    def add_xml(self, name: str, text: str) -> Path:
        """Save an annotation file."""
        path = self.annotations / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def add(self, stem: str, *objects: str) -> None:
        """Save ``stem.png``, 40 x 30, and ``stem.xml`` with the objects."""
        self.add_image(f"{stem}.png")
        self.add_xml(f"{stem}.xml", voc_xml(*objects, filename=f"{stem}.png", size=(40, 30)))
