from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odml.errors import AnnotationError, ImageError, RecordError
from odml.shards import Shard, cut_shards, foresee_bytes, write_shard
from odml.structures import Annotation, LabelMap

LABELS = LabelMap(("cat", "dog"))
MEGABYTE = 1024 * 1024


def noise(path: Path, *, side: int = 460, **options: object) -> Annotation:
    """Save a picture that hardly compresses, and annotate a dog in it."""
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return Annotation(image=path, width=side, height=side, boxes=np.array([[1, 2, 30, 40]], np.float32), names=("dog",))


def cut(sources: dict[str, Annotation], folder: Path, *, max_file_size: int) -> list[Shard]:
    options = {"side": "train", "label_map": LABELS, "max_file_size": max_file_size}
    return list(cut_shards(sources, list(sources), str(folder), "train", **options))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.tfrecord"))


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Annotation]:
    """Twelve pictures of 310 kB: three of them fill a megabyte."""
    return {f"{number}.png": noise(tmp_path / f"{number}.png", side=320) for number in range(12)}


def test_shards_are_cut_so_that_no_file_exceeds_its_size(sources: dict[str, Annotation], tmp_path: Path):
    shards = cut(sources, tmp_path, max_file_size=1)
    assert [(shard.first, len(shard.source_ids), shard.count) for shard in shards] == [
        (1, 3, 12),
        (4, 3, 12),
        (7, 3, 12),
        (10, 3, 12),
    ]
    assert [name for shard in shards for name in shard.source_ids] == list(sources)
    for shard in reversed(shards):
        assert len(write_shard(shard)) == 3
    expected = [f"train-{first:02}-{first + 2:02}.tfrecord" for first in (1, 4, 7, 10)]
    assert names_in(tmp_path) == expected
    assert all((tmp_path / name).stat().st_size <= MEGABYTE for name in expected)


def test_without_a_limit_there_is_one_shard(sources: dict[str, Annotation], tmp_path: Path):
    assert [len(shard.source_ids) for shard in cut(sources, tmp_path, max_file_size=0)] == [12]


def test_no_sources_give_no_shard(tmp_path: Path):
    assert cut({}, tmp_path, max_file_size=1) == []


def test_a_shard_that_becomes_larger_than_foreseen_becomes_several_files(tmp_path: Path):
    # WebP, which is encoded anew as PNG: five pictures of some 200 kB become 630 kB each.
    sources = {f"{n}.webp": noise(tmp_path / f"{n}.webp", quality=60) for n in range(5)}
    (shard,) = cut(sources, tmp_path, max_file_size=1)
    write_shard(shard)
    assert names_in(tmp_path) == [f"train-{number}-{number}.tfrecord" for number in range(1, 6)]


@pytest.mark.parametrize("objects", [0, 1, 40])
def test_the_size_of_an_example_is_foreseen(tmp_path: Path, objects: int):
    noise(tmp_path / "a.png", side=64)
    annotation = Annotation(
        image=tmp_path / "a.png",
        width=64,
        height=64,
        boxes=np.tile(np.array([[1, 2, 30, 40]], np.float32), (objects, 1)),
        names=("dog",) * objects,
        crowd=np.ones(objects, np.bool_),
    )
    (shard,) = cut({"in/a.png": annotation}, tmp_path, max_file_size=0)
    write_shard(shard)
    written = (tmp_path / "train-1-1.tfrecord").stat().st_size
    assert written <= foresee_bytes("in/a.png", annotation) <= written + 400


def test_digests_are_of_the_content_in_order(sources: dict[str, Annotation], tmp_path: Path):
    (shard,) = cut(sources, tmp_path, max_file_size=0)
    digests = write_shard(shard, threads=3)
    assert len(digests) == 12
    again = cut(dict(reversed(sources.items())), tmp_path / "again", max_file_size=0)[0]
    (tmp_path / "again").mkdir()
    assert write_shard(again) == digests[::-1]


def test_a_picture_that_is_gone_is_an_error(sources: dict[str, Annotation], tmp_path: Path):
    (tmp_path / "4.png").unlink()
    with pytest.raises(ImageError) as error:
        cut(sources, tmp_path, max_file_size=1)
    assert str(error.value) == f"{tmp_path}/4.png: cannot be read (No such file or directory); prepare again"


def test_a_picture_of_another_size_is_an_error(sources: dict[str, Annotation], tmp_path: Path):
    (shard,) = cut(sources, tmp_path, max_file_size=0)
    noise(tmp_path / "4.png", side=10)
    with pytest.raises(AnnotationError) as error:
        write_shard(shard)
    assert str(error.value) == f"{tmp_path}/4.png: has changed since it was inspected; prepare again"


def test_a_folder_that_cannot_be_written_to_is_an_error(sources: dict[str, Annotation], tmp_path: Path):
    (shard,) = cut(sources, tmp_path / "missing", max_file_size=0)
    with pytest.raises(RecordError, match=r"missing/train-01-12.tfrecord: cannot be read or written \(.*\); check the"):
        write_shard(shard)
