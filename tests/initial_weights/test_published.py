from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from odml import config
from odml.errors import WeightsError
from odml.initial_weights import cached, published
from odml.initial_weights.published import Published, fetch

SSD = config.load("ssd_mobilenet_v2")
CONTENT = b"weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder without caches."""
    for name in ("ODML_CACHE", "XDG_CACHE_HOME", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that has the files instead of the publishers."""
    (tmp_path / "served").mkdir()
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path / "served")))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/file.tar.gz"
    (tmp_path / "served/file.tar.gz").write_bytes(CONTENT)
    yield address
    server.shutdown()
    server.server_close()


def publish(monkeypatch: pytest.MonkeyPatch, address: str, sha256: str | None = DIGEST) -> None:
    monkeypatch.setitem(published._COCO, ("ssd", "mobilenet_v2"), Published(address, sha256))
    monkeypatch.setitem(published._IMAGENET, "mobilenet_v2", Published(address, None))


def message_of(weights: str) -> str:
    with pytest.raises(WeightsError) as raised:
        fetch(weights, SSD)
    return str(raised.value)


def test_file_is_downloaded_into_the_cache_once(home, address, monkeypatch):
    publish(monkeypatch, address)
    path = fetch("coco", SSD)
    assert path == home / ".cache/odml/file.tar.gz"
    assert path.read_bytes() == CONTENT
    publish(monkeypatch, "http://127.0.0.1:1/file.tar.gz")
    assert fetch("coco", SSD) == path


def test_imagenet_weights_are_in_keras_own_cache(home, address, monkeypatch):
    publish(monkeypatch, address)
    assert fetch("imagenet", SSD) == home / ".keras/models/file.tar.gz"


@pytest.mark.parametrize("weights", ["coco", "imagenet"])
def test_no_network(weights, home, monkeypatch):
    publish(monkeypatch, "http://127.0.0.1:1/file.tar.gz")
    folder, other = {
        "coco": (home / ".cache/odml", "weights=imagenet"),
        "imagenet": (home / ".keras/models", "weights=coco"),
    }[weights]
    assert message_of(weights) == (
        f"weights={weights}: http://127.0.0.1:1/file.tar.gz: cannot be downloaded into {folder} (Connection refused);"
        f" put http://127.0.0.1:1/file.tar.gz there as {folder}/file.tar.gz, or pass {other} or the path of a file"
    )


def test_file_in_the_cache_that_is_another(home, monkeypatch):
    publish(monkeypatch, "http://127.0.0.1:1/file.tar.gz")
    path = home / ".cache/odml/file.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    assert message_of("coco").startswith(f"weights=coco: {path}: is not the file that was published (sha256 ")


def test_network_that_nothing_is_published_for(monkeypatch):
    monkeypatch.delitem(published._COCO, ("ssd", "mobilenet_v2"))
    assert message_of("coco") == (
        "weights=coco: none are published for ssd on mobilenet_v2; pass weights=imagenet or weights=none"
    )


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({}, "~/.cache/odml"),
        ({"XDG_CACHE_HOME": "/caches"}, "/caches/odml"),
        ({"XDG_CACHE_HOME": "/caches", "ODML_CACHE": "/mine"}, "/mine"),
        ({"ODML_CACHE": "~/mine"}, "~/mine"),
        ({"XDG_CACHE_HOME": "", "ODML_CACHE": ""}, "~/.cache/odml"),
    ],
)
def test_cache_can_be_moved(variables, folder, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert {path.parent for path in cached()["coco"]} == {Path(folder).expanduser()}


def test_cache_of_keras_can_be_moved(monkeypatch):
    monkeypatch.setenv("KERAS_HOME", "/keras")
    assert {path.parent for path in cached()["imagenet"]} == {Path("/keras/models")}


@pytest.mark.parametrize(
    ("model", "coco", "imagenet"),
    [
        (
            "ssd_mobilenet_v2",
            "http://download.tensorflow.org/models/object_detection/ssd_mobilenet_v2_coco_2018_03_29.tar.gz",
            "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        ),
        (
            "faster_rcnn_resnet50",
            "http://download.tensorflow.org/models/object_detection/faster_rcnn_resnet50_coco_2018_01_28.tar.gz",
            "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
            "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        ),
        (
            "faster_rcnn_resnet101",
            "http://download.tensorflow.org/models/object_detection/faster_rcnn_resnet101_coco_2018_01_28.tar.gz",
            "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
            "resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
        ),
    ],
)
def test_every_model_has_its_files(model, coco, imagenet, monkeypatch):
    asked = []
    monkeypatch.setattr(published, "download", lambda address, path, *, sha256: asked.append((address, sha256)) or path)
    configuration = config.load(model)
    fetch("coco", configuration)
    fetch("imagenet", configuration)
    assert [address for address, _ in asked] == [coco, imagenet]
    assert len(asked[0][1]) == 64
