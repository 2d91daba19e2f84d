"""The data sets that are known by name, and what each needs to become a folder of pictures and one of annotations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from odml.downloads import Published, cache_folder, download, new_folder, unpack
from odml.errors import DownloadError
from odml.known_datasets.shapes import draw_shapes

_SHAPES = 1500  # as many as the demonstration learns from
_SHAPES_SEED = 1


@dataclass(frozen=True)
class KnownDataset:
    """What to download, and where in it the pictures and the annotations are.

    ``finish`` gets the folder that all archives were unpacked into, before anyone else sees it.
    """

    images: str
    annotations: str
    archives: tuple[Published, ...] = ()
    finish: Callable[[Path], object] = lambda folder: None


def fetch(name: str) -> tuple[Path, Path]:
    """Give the folder of pictures and the folder of annotations of a known data set.

    What is not there yet is downloaded into ``NAME`` of the cache (`odml.downloads.cache_folder`), verified by its
    sha256 and unpacked into ``NAME/data``, or drawn there. What was interrupted leaves no such folder, and a download
    goes on where it ended.

    Args:
        name: one of `NAMES`. "voc2008" is Pascal VOC 2008, with its own split; "oxford_pets" has a box around the head
            of each pet, whose class is its breed; "shapes" are 1500 drawn pictures.
    Raises:
        DownloadError: an archive cannot be downloaded or unpacked.
    """
    known, folder = _KNOWN[name], cache_folder() / name
    data = folder / "data"
    if not data.is_dir():
        archives = [_download(name, archive, folder) for archive in known.archives]
        with new_folder(data) as part:
            for archive in archives:
                unpack(archive, part)
            known.finish(part)
    return data / known.images, data / known.annotations


def _download(name: str, archive: Published, folder: Path) -> Path:
    path = folder / archive.name
    try:
        return download(archive.address, path, sha256=archive.sha256)
    except DownloadError as error:
        raise DownloadError(
            f"dataset={name}: {error}; put {archive.address} there as {path}, or give images and annotations"
        ) from None


def _draw_shapes(folder: Path) -> None:
    draw_shapes(folder, images=_SHAPES, seed=_SHAPES_SEED)


def _name_breeds(folder: Path) -> None:
    """Let each object's class be the breed, which the name of its file begins with, as in ``german_shorthaired_7``.

    In the file it is "cat" or "dog".
    """
    for file in (folder / _PETS_ANNOTATIONS).glob("[!.]*.xml"):
        tree = etree.parse(file)
        for name in tree.iterfind("object/name"):
            name.text = file.stem.rpartition("_")[0]
        tree.write(file)


_PETS = "http://www.robots.ox.ac.uk/~vgg/data/pets/data"
_PETS_ANNOTATIONS = "annotations/xmls"
_KNOWN = {
    "voc2008": KnownDataset(
        images="VOCdevkit/VOC2008/JPEGImages",
        annotations="VOCdevkit/VOC2008/Annotations",
        archives=(
            Published(
                "http://host.robots.ox.ac.uk/pascal/VOC/voc2008/VOCtrainval_14-Jul-2008.tar",
                "7f0ca53c1b5a838fbe946965fc106c6e86832183240af5c88e3f6c306318d42e",
            ),
        ),
    ),
    "oxford_pets": KnownDataset(
        images="images",
        annotations=_PETS_ANNOTATIONS,
        archives=(
            Published(f"{_PETS}/images.tar.gz", "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d"),
            Published(
                f"{_PETS}/annotations.tar.gz", "52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91"
            ),
        ),
        finish=_name_breeds,
    ),
    "shapes": KnownDataset(images="images", annotations="annotations", finish=_draw_shapes),
}
NAMES = tuple(_KNOWN)
