import os
from pathlib import Path

import pytest

from odml.listing import Listing, list_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ["b.txt", "a-b/c.txt", "a/d.txt", "a/.hidden", ".cache/e.txt", "a.txt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_files_are_in_the_order_of_their_paths(folder: Path):
    listing = list_files(folder)
    assert listing.names == ["a/d.txt", "a-b/c.txt", "a.txt", "b.txt"]
    assert list(listing) == sorted(listing)
    assert list(listing) == [folder / name for name in listing.names]


def test_links_to_files_are_followed_and_links_to_folders_are_not(folder: Path):
    (folder / "c.txt").symlink_to(folder / "a.txt")
    (folder / "d.txt").symlink_to("nowhere")
    (folder / "e").symlink_to(folder / "a")
    assert list_files(folder).names == ["a/d.txt", "a-b/c.txt", "a.txt", "b.txt", "c.txt"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may enter any folder")
def test_folders_that_may_not_be_entered_are_left_out(folder: Path):
    (folder / "a").chmod(0)
    assert list_files(folder).names == ["a-b/c.txt", "a.txt", "b.txt"]


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path):
    assert list(list_files(tmp_path / "no")) == []


def test_a_file_has_a_number(folder: Path):
    listing = list_files(folder)
    assert [listing.number_of(path) for path in listing] == [0, 1, 2, 3]


@pytest.mark.parametrize("path", ["{}/z.txt", "{}/a", "{}", "/other/a.txt"])
def test_a_file_that_is_not_there_has_none(folder: Path, path: str):
    with pytest.raises(KeyError):
        list_files(folder).number_of(Path(path.format(folder)))


def test_some_of_the_files(folder: Path):
    listing = list_files(folder)
    assert list(listing[1:3]) == [folder / "a-b/c.txt", folder / "a.txt"]
    assert listing.only(lambda name: "/" in name).names == ["a/d.txt", "a-b/c.txt"]
    assert len(Listing(folder, ())) == 0
