from pathlib import Path

import pytest

from odml.annotations.list_files import read_lists
from odml.annotations.ready_split import settle, side_named
from odml.image_index import ImageIndex


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("instances_train2017", "train"),
        ("valid", "val"),
        ("val-2", "val"),
        ("test", "test"),
        ("pascal_trainval2012", "trainval"),
        ("trains", None),
        ("train_and_val", None),
        ("contest", None),
    ],
)
def test_the_side_is_a_word_of_the_name(name: str, side: str | None):
    assert side_named(name) == side


@pytest.mark.parametrize(
    ("found", "sides"),
    [
        ({"train", "val"}, {"train": "train", "val": "val"}),
        ({"train", "val", "trainval", "test"}, {"train": "train", "val": "val", "test": "test"}),
        ({"trainval", "test"}, {"trainval": "train", "test": "val"}),
        ({"train", "trainval", "test"}, {"train": "train", "test": "val"}),
        ({"train", "trainval"}, {}),
        ({"val", "test"}, {}),
        (set(), {}),
    ],
)
def test_validation_has_a_part_of_its_own_or_there_is_no_split(found: set[str], sides: dict[str, str]):
    assert settle(found) == sides


@pytest.fixture
def index(tmp_path: Path) -> ImageIndex:
    folder = tmp_path / "images"
    images = [folder / name for name in ("a.jpg", "in/b.jpg", "x/c.jpg", "y/c.jpg", "d.v2.png")]
    return ImageIndex(folder, images)


def lists(tmp_path: Path, **texts: str) -> dict[str, Path]:
    for side, text in texts.items():
        (tmp_path / f"{side}.txt").write_text(text)
    return {side: tmp_path / f"{side}.txt" for side in texts}


@pytest.mark.parametrize(
    ("line", "image"),
    [
        ("a.jpg", "a.jpg"),
        ("a", "a.jpg"),
        ("  ./images/a.jpg ", "a.jpg"),
        ("{}/images/x/c.jpg", "x/c.jpg"),
        ("y/c.jpg", "y/c.jpg"),
        ("data/obj/b.jpg", "in/b.jpg"),
        ("in\\b.jpg", "in/b.jpg"),
        ("d.v2", "d.v2.png"),
    ],
)
def test_a_line_may_be_a_path_a_name_or_a_stem(tmp_path: Path, index: ImageIndex, line: str, image: str):
    sides, problems = read_lists(lists(tmp_path, val=f"\ufeff{line.format(tmp_path)}\n\n"), index)
    assert (sides, problems) == ({index.folder / image: "val"}, [])


def test_lines_that_cannot_be_followed_are_errors(tmp_path: Path, index: ImageIndex):
    sides, problems = read_lists(lists(tmp_path, train="a\na\n\nz.jpg\nc", val="a.jpg"), index)
    assert [str(problem) for problem in problems] == [
        f"{tmp_path}/train.txt: line 4: z.jpg: is no picture in {index.folder}; correct or remove the line",
        f"{tmp_path}/train.txt: line 5: c: may be any of images/x/c.jpg, images/y/c.jpg; write its folder too",
        f"{tmp_path}/val.txt: line 1: a.jpg: is on the list for train too, and stays there; correct the lists",
    ]
    assert sides == {index.folder / "a.jpg": "train"}


def test_a_list_that_is_not_there_is_an_error(tmp_path: Path, index: ImageIndex):
    _, problems = read_lists({"train": tmp_path / "no.txt"}, index)
    assert [str(problem) for problem in problems] == [
        f"{tmp_path}/no.txt: cannot be read (No such file or directory); give a file with a picture a line"
    ]
