import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odml.errors import ImageError
from odml.images import encode_upright, find_images, read_image, stored_as, turn_boxes

STORED = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)  # 3 wide, 2 high
UPRIGHT = {
    1: STORED,
    2: STORED[:, ::-1],
    3: STORED[::-1, ::-1],
    4: STORED[::-1],
    5: STORED.swapaxes(0, 1),
    6: STORED[::-1].swapaxes(0, 1),
    7: STORED[::-1, ::-1].swapaxes(0, 1),
    8: STORED[:, ::-1].swapaxes(0, 1),
}


def saved(picture: Image.Image, image_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, image_format, **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_upright_by_its_exif_orientation(orientation: int):
    data = saved(Image.fromarray(STORED), "PNG", exif=exif(orientation))
    np.testing.assert_array_equal(read_image(data), UPRIGHT[orientation])
    assert stored_as(data).orientation == orientation


def test_an_unknown_orientation_turns_nothing():
    data = saved(Image.fromarray(STORED), "PNG", exif=exif(9))
    np.testing.assert_array_equal(read_image(data), STORED)
    assert stored_as(data).orientation == 1


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_drawn_on_stored_pixels_turn_with_the_picture(orientation: int):
    stored = np.zeros((20, 30, 3), np.uint8)
    stored[2:9, 4:16] = 255
    upright = read_image(saved(Image.fromarray(stored), "PNG", exif=exif(orientation)))
    x1, y1, x2, y2 = turn_boxes(np.array([[4, 2, 16, 9]]), orientation, width=30, height=20)[0]
    expected = np.zeros((30, 20, 3), np.uint8)
    expected[y1:y2, x1:x2] = 255
    np.testing.assert_array_equal(upright, expected)


def test_no_boxes_turn_to_no_boxes():
    assert turn_boxes(np.zeros((0, 4)), 6, width=30, height=20).shape == (0, 4)


@pytest.mark.parametrize(
    ("picture", "image_format", "expected"),
    [
        (Image.new("L", (1, 1), 7), "PNG", (7, 7, 7)),
        (Image.new("1", (1, 1), 1), "PNG", (255, 255, 255)),
        (Image.fromarray(np.array([[0x1234]], np.uint16)), "PNG", (0x12, 0x12, 0x12)),
        (Image.new("RGB", (1, 1), (10, 20, 30)).quantize(2), "GIF", (10, 20, 30)),
        (Image.new("RGB", (1, 1), (10, 20, 30)), "BMP", (10, 20, 30)),
        (Image.new("RGBA", (1, 1), (10, 20, 30, 255)), "PNG", (10, 20, 30)),
        (Image.new("RGBA", (1, 1), (10, 20, 30, 0)), "PNG", (255, 255, 255)),
        (Image.new("LA", (1, 1), (0, 0)), "PNG", (255, 255, 255)),
        (Image.new("CMYK", (1, 1), (0, 0, 0, 0)), "JPEG", (255, 255, 255)),
        (Image.new("CMYK", (1, 1), (0, 0, 0, 255)), "JPEG", (0, 0, 0)),
    ],
    ids=[
        "grey",
        "bits",
        "16-bit",
        "palette",
        "bmp",
        "opaque",
        "transparent",
        "grey-transparent",
        "cmyk-white",
        "cmyk-black",
    ],
)
def test_any_mode_is_read_as_rgb(picture: Image.Image, image_format: str, expected: tuple[int, int, int]):
    image = read_image(saved(picture, image_format))
    assert (image.dtype, image.shape) == (np.uint8, (1, 1, 3))
    assert tuple(image[0, 0]) == expected


def test_a_transparent_colour_of_a_palette_is_white():
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    image = read_image(saved(picture, "PNG", transparency=0))
    assert image.tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_image(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("mode", "image_format", "expected"),
    [("RGB", "JPEG", "jpeg"), ("L", "JPEG", "jpeg"), ("RGB", "PNG", "png"), ("L", "PNG", "png")],
)
def test_plain_pictures_keep_their_bytes(mode: str, image_format: str, expected: str):
    data = saved(Image.new(mode, (5, 4)), image_format)
    assert encode_upright(data) == (data, expected, 5, 4)


@pytest.mark.parametrize(
    ("mode", "image_format", "expected"),
    [("RGBA", "PNG", "png"), ("P", "PNG", "png"), ("P", "GIF", "png"), ("RGB", "BMP", "png"), ("CMYK", "JPEG", "jpeg")],
)
def test_other_pictures_are_encoded_as_the_rule_shows_them(mode: str, image_format: str, expected: str):
    data = saved(Image.new(mode, (5, 4)), image_format)
    encoded, encoded_format, width, height = encode_upright(data)
    assert (encoded_format, width, height) == (expected, 5, 4)
    with Image.open(io.BytesIO(encoded)) as again:
        assert (again.format.lower(), again.mode) == (expected, "RGB")
    np.testing.assert_allclose(read_image(encoded).astype(int), read_image(data), atol=2)


@pytest.mark.parametrize("depth", ["16-bit", "transparent colour"])
def test_a_png_that_decoders_show_differently_is_encoded_anew(depth: str):
    if depth == "16-bit":
        data = saved(Image.fromarray(np.full((2, 2), 0x1234, np.uint16)), "PNG")
    else:
        data = saved(Image.new("RGB", (2, 2), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    encoded = encode_upright(data)[0]
    assert encoded != data
    np.testing.assert_array_equal(read_image(encoded), read_image(data))


def test_a_turned_jpeg_is_stored_upright_and_no_longer_says_turned():
    data = saved(Image.new("RGB", (5, 4)), "JPEG", exif=exif(6))
    encoded, image_format, width, height = encode_upright(data)
    assert (image_format, width, height, stored_as(encoded).orientation) == ("jpeg", 4, 5, 1)


def test_content_decides_the_format_not_the_suffix(tmp_path: Path):
    path = tmp_path / "png.jpg"
    path.write_bytes(saved(Image.new("RGB", (5, 4)), "PNG"))
    assert encode_upright(path)[1] == "png"


ADVICE = "replace it by a JPEG, PNG, GIF or BMP file"


def test_bytes_that_are_no_picture_are_an_error():
    with pytest.raises(ImageError) as error:
        read_image(b"no picture")
    assert str(error.value) == f"image: cannot be read as a picture (its content is of no known format); {ADVICE}"


def test_a_missing_file_is_an_error(tmp_path: Path):
    with pytest.raises(ImageError) as error:
        read_image(tmp_path / "a.jpg")
    assert str(error.value) == f"{tmp_path}/a.jpg: cannot be read as a picture (No such file or directory); {ADVICE}"


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_truncated_picture_is_an_error(image_format: str):
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
    data = saved(Image.fromarray(noise), image_format)
    with pytest.raises(ImageError, match=r"^row 3: cannot be read as a picture \(.+\); replace"):
        read_image(data[: len(data) // 2], where="row 3")


def test_a_picture_too_large_to_decode_safely_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(ImageError) as error:
        read_image(saved(Image.new("1", (11, 10)), "PNG"), where="bomb.png")
    assert str(error.value) == (
        "bomb.png: cannot be read as a picture (Image size (110 pixels) exceeds limit of 100 pixels, "
        f"could be decompression bomb DOS attack.); {ADVICE}"
    )


def test_images_are_found_in_nested_folders_whatever_their_case(tmp_path: Path):
    for name in ["b.JPG", "a.jpeg", "in/c.PNG", "in/d.gif", "e.bmp", "notes.txt", ".hidden.jpg", ".cache/f.jpg"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    images, others = find_images(tmp_path)
    assert images == [tmp_path / name for name in ["a.jpeg", "b.JPG", "e.bmp", "in/c.PNG", "in/d.gif"]]
    assert others == [tmp_path / "notes.txt"]
