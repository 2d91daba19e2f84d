import io

import numpy as np
import pytest
from PIL import Image

from odml.inspection.looks import MOST_BITS, group_alike, look_of


def scene(seed: int, *, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Draw soft spots of random colours."""
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def look(image: Image.Image) -> np.ndarray:
    return np.frombuffer(look_of(np.asarray(image)), np.uint8)


def bits(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.bitwise_count(one ^ other).sum())


def compressed(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=40)
    return Image.open(stream)


def flipped(look: np.ndarray, places: np.ndarray) -> np.ndarray:
    changed = np.unpackbits(look)
    changed[places] ^= 1
    return np.packbits(changed)


@pytest.mark.parametrize(
    "copy",
    [
        compressed,
        lambda image: image.resize((640, 480)),
        lambda image: image.resize((150, 150)),
        lambda image: image.point(lambda value: round(value * 0.8)),
    ],
    ids=["compressed", "larger", "squeezed", "darker"],
)
def test_a_copy_looks_like_the_picture(copy):
    assert all(bits(look(scene(seed)), look(copy(scene(seed)))) <= MOST_BITS for seed in range(5))


def test_other_pictures_look_otherwise():
    looks = [look(scene(seed)) for seed in range(20)]
    assert min(bits(one, other) for number, one in enumerate(looks) for other in looks[:number]) > 60


def test_a_plain_picture_looks_like_nothing():
    assert look_of(np.full((30, 40, 3), 90, np.uint8)) == b""


def test_pictures_are_grouped_by_what_they_look_like_also_by_way_of_others():
    places = np.random.default_rng(1).permutation(256)
    first = look(scene(1))
    # 20 bits from one to the next: the last is too far from the first by itself.
    second, third = flipped(first, places[:20]), flipped(first, places[:40])
    looks = np.stack([look(scene(2)), first, third, look(scene(3)), second])
    assert group_alike(looks, np.arange(5)).tolist() == [0, 1, 1, 3, 1]


def test_the_same_pixels_are_alike_whatever_they_look_like():
    looks = np.zeros((4, 32), np.uint8)
    assert group_alike(looks, np.array([b"a", b"b", b"a", b"c"])).tolist() == [0, 1, 0, 3]
    assert group_alike(looks[:0], np.array([], "S1")).tolist() == []


def test_many_pictures_that_look_the_same_are_one_group():
    rows = np.random.default_rng(2).integers(0, 256, 600)
    looks = np.stack([flipped(look(scene(1)), np.array([bit])) for bit in rows])
    assert set(group_alike(looks, np.arange(600)).tolist()) == {0}
