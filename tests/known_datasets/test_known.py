"""Known data sets, from archives made here and a server on this machine."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from odml.downloads import Published
from odml.errors import DownloadError
from odml.inspection import inspect
from odml.known_datasets import NAMES, fetch, known
from tests.voc_files import AnnotatedFolder, voc_object, voc_xml

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ODML_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """A folder whose files are at the address in ``address.txt`` there."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    (folder / "address.txt").write_text(f"http://127.0.0.1:{server.server_port}")
    yield folder
    server.shutdown()
    server.server_close()


def publish(name: str, archives: Mapping[str, bytes], address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a known data set have these archives, at the address."""
    files = tuple(
        Published(f"{address}/{file}", hashlib.sha256(content).hexdigest()) for file, content in archives.items()
    )
    monkeypatch.setitem(known._KNOWN, name, replace(known._KNOWN[name], archives=files))


def serve(name: str, served: Path, archives: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    for file, content in archives.items():
        (served / file).write_bytes(content)
    publish(name, archives, (served / "address.txt").read_text(), monkeypatch)


def packed(folder: Path, mode: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=mode) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    return archive.getvalue()


def voc_kit(root: Path) -> dict[str, bytes]:
    """Pack pictures a, b and c as the VOC2008 development kit has them; c is in no list."""
    main = root / "VOCdevkit/VOC2008/ImageSets/Main"
    main.mkdir(parents=True)
    kit = main.parents[1]
    made = AnnotatedFolder(kit)
    for stem in "abc":
        made.add(stem, voc_object("cat"))
    made.images.rename(kit / "JPEGImages")
    made.annotations.rename(kit / "Annotations")
    for name, stems in {"train": "a", "val": "b", "trainval": "ab"}.items():
        (main / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in stems))
    return {"VOCtrainval_14-Jul-2008.tar": packed(root, "w")}


def pets(root: Path) -> dict[str, bytes]:
    """Pack a cat and a dog as the Oxford pets are published, with the files that a Mac adds."""
    (root / "one").mkdir(parents=True)
    (root / "two/annotations/xmls").mkdir(parents=True)
    made = AnnotatedFolder(root / "one")
    made.add_image("Egyptian_Mau_3.jpg")
    made.add_image("english_cocker_spaniel_12.jpg")
    made.annotations.rmdir()
    for stem, species in {"Egyptian_Mau_3": "cat", "english_cocker_spaniel_12": "dog"}.items():
        xml = voc_xml(voc_object(species), filename=f"{stem}.jpg", size=(40, 30))
        (root / f"two/annotations/xmls/{stem}.xml").write_text(xml)
    (root / "two/annotations/xmls/._Egyptian_Mau_3.xml").write_bytes(b"\0\5\26\7")
    return {"images.tar.gz": packed(root / "one", "w:gz"), "annotations.tar.gz": packed(root / "two", "w:gz")}


def test_voc_is_downloaded_unpacked_and_split_as_it_says(tmp_path, served, cache, monkeypatch):
    serve("voc2008", served, voc_kit(tmp_path / "kit"), monkeypatch)
    images, annotations = fetch("voc2008")
    assert images == cache / "voc2008/data/VOCdevkit/VOC2008/JPEGImages"
    inspection = inspect(images, annotations)
    assert inspection.errors == ()
    assert {image.stem: side for image, side in inspection.sides.items()} == {"a": "train", "b": "val"}


def test_pets_are_classes_by_their_breed(tmp_path, served, monkeypatch):
    serve("oxford_pets", served, pets(tmp_path / "pets"), monkeypatch)
    inspection = inspect(*fetch("oxford_pets"))
    assert inspection.errors == ()
    assert [annotation.names for annotation in inspection.annotations] == [
        ("Egyptian_Mau",),
        ("english_cocker_spaniel",),
    ]


def test_what_is_there_needs_no_network(tmp_path, served, monkeypatch):
    archives = pets(tmp_path / "pets")
    serve("oxford_pets", served, archives, monkeypatch)
    folders = fetch("oxford_pets")
    publish("oxford_pets", archives, NOWHERE, monkeypatch)
    assert fetch("oxford_pets") == folders


def test_archives_that_were_put_there_need_no_network(tmp_path, cache, monkeypatch):
    archives = pets(tmp_path / "pets")
    publish("oxford_pets", archives, NOWHERE, monkeypatch)
    (cache / "oxford_pets").mkdir(parents=True)
    for file, content in archives.items():
        (cache / "oxford_pets" / file).write_bytes(content)
    images, _ = fetch("oxford_pets")
    assert sorted(path.name for path in images.iterdir()) == ["Egyptian_Mau_3.jpg", "english_cocker_spaniel_12.jpg"]


@pytest.mark.parametrize("name", ["voc2008", "oxford_pets"])
def test_no_network(name, cache, monkeypatch):
    publish(name, {"file.tar": b""}, NOWHERE, monkeypatch)
    with pytest.raises(DownloadError) as raised:
        fetch(name)
    assert str(raised.value) == (
        f"dataset={name}: {NOWHERE}/file.tar: cannot be downloaded into {cache}/{name} (Connection refused); put "
        f"{NOWHERE}/file.tar there as {cache}/{name}/file.tar, or give images and annotations"
    )
    assert list((cache / name).iterdir()) == []


def test_archive_that_writes_elsewhere_leaves_nothing(tmp_path, served, cache, monkeypatch):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("good"))
        tar.addfile(tarfile.TarInfo("../../../evil"))
    serve("voc2008", served, {"kit.tar": archive.getvalue()}, monkeypatch)
    with pytest.raises(DownloadError, match=r"kit\.tar: is not unpacked, as it would write elsewhere"):
        fetch("voc2008")
    assert [path.name for path in (cache / "voc2008").iterdir()] == ["kit.tar"]
    assert not (tmp_path / "evil").exists()


def test_all_that_is_downloaded_has_a_digest():
    digests = [archive.sha256 for name in NAMES for archive in known._KNOWN[name].archives]
    assert [len(digest or "") for digest in digests] == [64, 64, 64]


def test_shapes_are_drawn_once(cache, monkeypatch):
    monkeypatch.setattr(known, "_SHAPES", 3)
    images, annotations = fetch("shapes")
    assert sorted(path.name for path in images.iterdir()) == [f"shapes_0000{number}.jpg" for number in (1, 2, 3)]
    inspection = inspect(images, annotations)
    assert inspection.errors == ()
    monkeypatch.setattr(known, "_SHAPES", 4)
    assert fetch("shapes") == (images, annotations)
    assert len(list(images.iterdir())) == 3
