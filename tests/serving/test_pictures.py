from __future__ import annotations

import base64
import io
import os

import numpy as np
import pytest
from PIL import Image

from odml.errors import ImageError
from odml.serving.limits import Allowed, Limits
from odml.serving.pictures import PictureReader

CLOSED = PictureReader(Limits(), Allowed())


def png(width: int = 6, height: int = 4) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (width, height), (255, 0, 0)).save(encoded, "png")
    return encoded.getvalue()


TEXT = base64.b64encode(png()).decode()


def refusal(reader: PictureReader, row: dict) -> str:
    with pytest.raises(ImageError) as raised:
        reader.read(row, where="row 1 of 1")
    return str(raised.value)


@pytest.mark.parametrize("value", [TEXT, f"data:image/png;base64,{TEXT}", f"{TEXT[:10]}\r\n{TEXT[10:]} \n", png()])
def test_picture_comes_in_the_row(value):
    assert CLOSED.read({"image": value, "path": None, "url": float("nan")}, where="").shape == (4, 6, 3)


@pytest.mark.parametrize("value", [TEXT[:-2], f"{TEXT}!", "a\u2028" + TEXT, "é"])
def test_text_that_is_no_base64_is_refused(value):
    assert refusal(CLOSED, {"image": value}) == (
        "row 1 of 1: the image is no base64 text; encode the picture's bytes as base64"
    )


@pytest.mark.parametrize(("value", "kind"), [(7, "int"), ([TEXT], "list"), (True, "bool"), ({"b64": TEXT}, "dict")])
def test_value_that_is_neither_text_nor_bytes_is_refused(value, kind):
    assert refusal(CLOSED, {"image": value}) == (
        f"row 1 of 1: the image is {kind}; send a picture's bytes as base64 text"
    )


def test_row_has_one_picture():
    assert refusal(CLOSED, {"image": None}) == "row 1 of 1: has no picture; send one of image, path, url"
    both = {"image": TEXT, "path": "a.png"}
    assert refusal(CLOSED, both) == "row 1 of 1: has image and path; send one of image, path, url"


def test_picture_of_too_many_bytes_is_refused():
    reader = PictureReader(Limits(max_image_bytes=10), Allowed())
    message = "row 1 of 1: has more than 10 bytes; send a smaller picture"
    assert refusal(reader, {"image": TEXT}) == refusal(reader, {"image": png()}) == message


def test_picture_of_too_many_pixels_is_refused():
    reader = PictureReader(Limits(max_pixels=23), Allowed())
    assert refusal(reader, {"image": TEXT}) == (
        "row 1 of 1: cannot be read as a picture (6 x 4 pixels are more than 23); replace it by a JPEG, PNG, GIF or BMP"
        " file"
    )


def test_nothing_else_is_read_unless_it_is_allowed(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    assert refusal(CLOSED, {"path": str(tmp_path / "a.png")}) == (
        "row 1 of 1: this server reads no files of its own; send the picture in the column image"
    )
    assert refusal(CLOSED, {"url": "http://127.0.0.1/a.png"}) == (
        "row 1 of 1: this server fetches no addresses; send the picture in the column image"
    )


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "open"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.png").write_bytes(png())
    (tmp_path / "secret.png").write_bytes(png())
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "inner.png").symlink_to(folder / "in" / "a.png")
    os.mkfifo(folder / "pipe")
    return folder.resolve()


@pytest.mark.parametrize("path", ["in/a.png", "inner.png", "in/../in/a.png", "{folder}/in/a.png"])
def test_file_below_an_allowed_folder_is_read(folder, path):
    reader = PictureReader(Limits(), Allowed((folder,)))
    assert reader.read({"path": path.format(folder=folder)}, where="").shape == (4, 6, 3)


@pytest.mark.parametrize(
    "path",
    ["../secret.png", "{folder}/../secret.png", "link.png", "no.png", "in", "pipe", "in/a\0.png", "x" * 5000, ""],
)
def test_any_other_file_is_not_there(folder, path):
    reader = PictureReader(Limits(), Allowed((folder,)))
    message = refusal(reader, {"path": path.format(folder=folder)})
    assert message.endswith(" is no file that this server may read; send another path")


def test_file_of_too_many_bytes_is_refused(folder):
    reader = PictureReader(Limits(max_image_bytes=10), Allowed((folder,)))
    assert refusal(reader, {"path": "in/a.png"}) == "row 1 of 1: has more than 10 bytes; send a smaller picture"


def test_picture_is_what_was_stored():
    assert (CLOSED.read({"image": TEXT}, where="") == np.array([255, 0, 0])).all()
