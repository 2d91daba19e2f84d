import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odml.errors import ConfigurationError, ImageError
from odml.sources import FileNames, Source, find_sources, read_pictures


def draw(path: Path, *, grey: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (grey,) * 3).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    draw(folder / "b.png")
    draw(folder / "a" / "c.jpg")
    (folder / "notes.md").write_text("no picture")
    return folder


def names_of(sources) -> list[str]:
    return [source.name for source in sources.sources]


def test_folder_gives_its_pictures_and_counts_the_rest(folder: Path):
    found = find_sources(str(folder))
    assert (names_of(found), found.root, found.skipped, found.images) == (["a/c.jpg", "b.png"], folder, 1, 2)
    assert found.sources[1] == Source(str(folder / "b.png"), "b.png")
    assert len(found.sources[:1]) == 1


def test_glob_gives_pictures_and_videos(folder: Path):
    (folder / "clip.txt").write_text("no picture")
    found = find_sources(f"{folder}/**/*.*")
    assert (names_of(found), found.root, found.skipped) == (["a/c.jpg", "b.png"], folder, 2)


def test_one_file_is_named_by_its_own_name(folder: Path):
    found = find_sources(str(folder / "a" / "c.jpg"))
    assert (names_of(found), found.root) == (["c.jpg"], folder / "a")


def test_list_has_paths_from_its_own_folder_on_and_each_counts_once(folder: Path):
    (folder / "some.txt").write_text("b.png\n\n  a/c.jpg  \nb.png\n")
    found = find_sources(str(folder / "some.txt"))
    assert (names_of(found), found.root) == (["b.png", "a/c.jpg"], folder)


def test_standard_input_has_paths_from_the_current_folder_on(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    assert names_of(find_sources("-", listed=["b.png\n", f"{folder}/a/c.jpg"])) == ["b.png", "a/c.jpg"]


def test_addresses_are_named_by_host_and_path_and_stay_in_their_folder():
    listed = ["http://host/x/../../a%20b.jpg?size=2", "https://host/a b.jpg", "http://host"]
    found = find_sources("-", listed=listed)
    assert names_of(found) == ["host/x/a b.jpg", "host/a b.jpg", "host"]
    assert ({source.kind for source in found.sources}, found.root, found.images) == ({"address"}, None, 3)


def test_two_addresses_of_one_name_are_told_apart():
    found = find_sources("-", listed=["http://host/a.jpg?1", "http://host/A.jpg?2", "http://host/a.jpg?3"])
    assert names_of(found) == ["host/a.jpg", "host/A-2.jpg", "host/a-3.jpg"]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            "nowhere",
            "images: there is no nowhere; give a folder, a file, a glob, an address (http://, https://), a .txt list "
            "of these, or - for a list on standard input",
        ),
        ("-", "images: the list on standard input is empty; write a path or an address a line"),
        ("empty.txt", "empty.txt is empty; write a path or an address a line"),
        (
            "binary.txt",
            "binary.txt: cannot be read as a list ('utf-8' codec can't decode byte 0xff in position 0: invalid start "
            "byte); write it as text (UTF-8), a path or an address a line",
        ),
    ],
)
def test_what_names_no_picture_is_refused(images, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text("\n")
    Path("binary.txt").write_bytes(b"\xff\xd8")
    with pytest.raises(ConfigurationError) as raised:
        find_sources(images)
    assert str(raised.value) == message


def test_folder_and_glob_without_pictures_are_refused(tmp_path):
    (tmp_path / "a.md").write_text("")
    with pytest.raises(ImageError) as raised:
        find_sources(str(tmp_path))
    assert str(raised.value) == f"{tmp_path}: holds no image (.bmp, .gif, .jpeg, .jpg, .png); pass another folder"
    with pytest.raises(ImageError) as raised:
        find_sources(f"{tmp_path}/*")
    assert str(raised.value) == (
        f"images: {tmp_path}/* fits no image (.bmp, .gif, .jpeg, .jpg, .png) and no video; give another pattern"
    )


def test_pictures_come_in_order_and_what_cannot_be_read_is_among_them(folder: Path):
    (folder / "b0.jpg").write_bytes(b"no picture")
    pictures = list(read_pictures(find_sources(str(folder)).sources))
    assert [picture.name for picture in pictures] == ["a/c.jpg", "b.png", "b0.jpg"]
    assert pictures[1].image.shape == (8, 12, 3)
    assert str(pictures[2].image).startswith(f"{folder}/b0.jpg: cannot be read as a picture")


def test_only_wanted_pictures_are_read(folder: Path):
    (folder / "b0.jpg").write_bytes(b"no picture")
    pictures = read_pictures(find_sources(str(folder)).sources, wanted=lambda name: name == "b.png")
    assert [picture.name for picture in pictures] == ["b.png"]


def test_addresses_are_fetched(folder: Path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{server.server_port}"
        found, missing = read_pictures(find_sources("-", listed=[f"{host}/b.png", f"{host}/no.png"]).sources)
        server.shutdown()
    assert (found.name, found.where, found.image.shape) == ("127.0.0.1/b.png", f"{host}/b.png", (8, 12, 3))
    assert str(missing.image) == f"{host}/no.png: cannot be fetched (404 File not found); look at it in a browser"


def test_video_gives_its_frames(tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 16))
    for number in range(5):
        frame = np.zeros((16, 32, 3), np.uint8)
        frame[:, :, 2] = 50 * number  # OpenCV has red last
        writer.write(frame)
    writer.release()
    sources = find_sources(str(path))
    assert (names_of(sources), sources.images) == (["clip.avi"], None)
    frames = list(read_pictures(sources.sources, frame_step=2, wanted=lambda name: name != "clip.avi/frame_000002"))
    assert [frame.name for frame in frames] == ["clip.avi/frame_000000", "clip.avi/frame_000004"]
    assert frames[1].where == f"{path}, frame 4"
    red, green, blue = frames[1].image.mean(axis=(0, 1))
    assert red == pytest.approx(200, abs=8)
    assert max(green, blue) < 8


def test_damaged_video_is_told(tmp_path):
    pytest.importorskip("cv2")
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    (picture,) = read_pictures(find_sources(str(tmp_path / "clip.mp4")).sources)
    assert str(picture.image) == (
        f"{tmp_path}/clip.mp4: OpenCV finds no frame in it; convert it to MP4 (H.264), or remove it"
    )


def test_video_without_opencv_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(ConfigurationError) as raised:
        find_sources(str(tmp_path / "clip.mp4"))
    assert str(raised.value) == (
        f"images: {tmp_path}/clip.mp4 is a video, which needs OpenCV, and that is not installed; "
        "pip install 'odml[video]'"
    )


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a/photo.JPG", "photo.jpg"], ["a/photo", "photo"]),
        (["photo.jpg", "photo.png"], ["photo.jpg", "photo.png"]),
        (["photo.jpg", "Photo.png"], ["photo.jpg", "Photo.png"]),
        (["a.jpg", "a.png", "a.jpg.gif"], ["a.jpg", "a.png", "a.jpg.gif"]),
        (["photo.v2", "clip.mp4/frame_000001"], ["photo.v2", "clip.mp4/frame_000001"]),
        ([], []),
    ],
)
def test_files_beside_pictures_have_names_of_their_own(names, stems):
    known = FileNames([Source(name, name) for name in names])
    assert [known.stem(name) for name in names] == stems
