"""Downloads from a server on this machine that can do more or less, and fails on request."""

from __future__ import annotations

import hashlib
import io
import logging
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from odml.downloads import download, new_folder, unpack
from odml.errors import DownloadError

CONTENT = bytes(range(256)) * 12_000  # 3 MB: several blocks
DIGEST = hashlib.sha256(CONTENT).hexdigest()
CUT = 2_000_000


class Server:
    """Serves CONTENT at any path but ``/none``; ``ranges`` and ``cut_after`` say how well."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.ranges = True
        self.cut_after: int | None = None
        self.requested: list[str | None] = []  # the header Range of each request
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._http.server_port}/weights.tar.gz"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers["Range"]
                server.requested.append(wanted)
                start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
                if self.path == "/none":
                    self.send_error(404)
                elif start >= len(server.content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(server.content)}")
                    self.end_headers()
                else:
                    self.send(start, partly=bool(wanted and server.ranges))

            def send(self, start: int, *, partly: bool) -> None:
                size = len(server.content)
                self.send_response(206 if partly else 200)
                self.send_header("Content-Length", str(size - start))
                if partly:
                    self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
                self.end_headers()
                self.wfile.write(server.content[start : server.cut_after])

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is to be, in a folder that is not there yet."""
    return tmp_path / "cache" / "weights.tar.gz"


def partial_of(path: Path) -> Path:
    return path.with_name("weights.tar.gz.partial")


def leave_partial(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    partial_of(path).write_bytes(content)


def message_of(address: str, path: Path, sha256: str | None = DIGEST) -> str:
    with pytest.raises(DownloadError) as raised:
        download(address, path, sha256=sha256)
    return str(raised.value)


@pytest.mark.parametrize("sha256", [DIGEST, None])
def test_file_is_there_whole(server, path, sha256):
    assert download(server.address, path, sha256=sha256) == path
    assert path.read_bytes() == CONTENT
    assert [each.name for each in path.parent.iterdir()] == ["weights.tar.gz"]


def test_file_that_is_there_is_not_fetched(server, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert download(server.address, path, sha256=DIGEST) == path
    assert server.requested == []


def test_file_that_is_there_but_another_is_told_and_kept(server, path):
    path.parent.mkdir()
    path.write_bytes(b"mine")
    digest = hashlib.sha256(b"mine").hexdigest()
    assert message_of(server.address, path) == (
        f"{path}: is not the file that was published (sha256 {digest}, not {DIGEST}); remove the file, and it is"
        " downloaded anew"
    )
    assert path.read_bytes() == b"mine"


def test_lost_connection_leaves_what_came_and_the_next_try_goes_on(server, path):
    server.cut_after = CUT
    assert message_of(server.address, path) == (
        f"{server.address}: cannot be downloaded into {path.parent} (the connection ended after 2000000 of 3072000"
        " bytes; try again to go on from there)"
    )
    assert not path.exists()
    assert partial_of(path).read_bytes() == CONTENT[:CUT]
    server.cut_after = None
    assert download(server.address, path, sha256=DIGEST).read_bytes() == CONTENT
    assert server.requested == [None, "bytes=2000000-"]
    assert not partial_of(path).exists()


def test_server_that_knows_no_ranges_sends_all_again(server, path):
    server.ranges = False
    leave_partial(path, CONTENT[:CUT])
    assert download(server.address, path, sha256=DIGEST).read_bytes() == CONTENT
    assert server.requested == ["bytes=2000000-"]


def test_partial_file_that_is_complete_is_not_fetched_again(server, path):
    leave_partial(path, CONTENT)
    assert download(server.address, path, sha256=DIGEST).read_bytes() == CONTENT
    assert server.requested == ["bytes=3072000-"]


def test_partial_file_that_is_longer_than_the_file_is_begun_again(server, path):
    leave_partial(path, CONTENT + b"more")
    assert download(server.address, path, sha256=DIGEST).read_bytes() == CONTENT
    assert server.requested == ["bytes=3072004-", None]


def test_other_content_is_removed(server, path):
    server.content = b"another file"
    digest = hashlib.sha256(server.content).hexdigest()
    assert message_of(server.address, path) == (
        f"{partial_of(path)}: is not the file that was published (sha256 {digest}, not {DIGEST}); it is removed; try"
        " again, or put the right file there as weights.tar.gz"
    )
    assert list(path.parent.iterdir()) == []


def test_downloads_at_the_same_time_fetch_once(server, path):
    threads = [threading.Thread(target=download, args=(server.address, path), kwargs={"sha256": DIGEST}) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == CONTENT
    assert server.requested == [None]
    assert [each.name for each in path.parent.iterdir()] == ["weights.tar.gz"]


def test_server_that_does_not_answer(path):
    assert message_of("http://127.0.0.1:1/weights.tar.gz", path) == (
        f"http://127.0.0.1:1/weights.tar.gz: cannot be downloaded into {path.parent} (Connection refused)"
    )
    assert list(path.parent.iterdir()) == []


def test_connection_that_is_lost_before_the_first_byte_leaves_nothing(server, path):
    server.cut_after = 0
    assert message_of(server.address, path).endswith("after 0 of 3072000 bytes; try again to go on from there)")
    assert list(path.parent.iterdir()) == []


def test_file_that_the_server_does_not_have(server, path):
    address = server.address.replace("weights.tar.gz", "none")
    assert message_of(address, path) == f"{address}: cannot be downloaded into {path.parent} (HTTP 404 Not Found)"


def test_folder_that_cannot_be_made(server, path):
    path.parent.write_text("a file")
    assert message_of(server.address, path) == (
        f"{server.address}: cannot be downloaded into {path.parent} (File exists)"
    )


def test_progress_counts_megabytes(server, path, monkeypatch, caplog):
    monkeypatch.setattr("odml.progress._SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, logger="odml.progress"):
        download(server.address, path, sha256=DIGEST)
    lines = [record.getMessage().split(", ")[:2] for record in caplog.records]
    assert lines == [["weights.tar.gz", "MiB: 2 of 3 (67%)"], ["weights.tar.gz", "MiB: 3 of 3 (100%)"]]


def archive_of(path: Path, *members: tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for member in members:
            member.size = len(CONTENT) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(CONTENT))
    return path


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_archive_is_unpacked(tmp_path, mode):
    unpack(archive_of(tmp_path / "a.tar", tarfile.TarInfo("some/file"), mode=mode), tmp_path / "there")
    assert (tmp_path / "there/some/file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (tarfile.TarInfo("../evil"), "'../evil' would be extracted to '{folder}/evil', which is outside"),
        (link("evil", "../.."), "'evil' would link to '{folder.parent}', which is outside"),
        (link("evil", "/etc"), "'evil' is a link to an absolute path"),
    ],
)
def test_archive_that_would_write_elsewhere_is_refused(tmp_path, member, reason):
    archive = archive_of(tmp_path / "a.tar.gz", member)
    with pytest.raises(DownloadError) as raised:
        unpack(archive, tmp_path / "there")
    assert str(raised.value).startswith(
        f"{archive}: is not unpacked, as it would write elsewhere ({reason.format(folder=tmp_path)}"
    )
    assert not (tmp_path / "evil").exists()


def test_damaged_archive(tmp_path):
    archive = archive_of(tmp_path / "a.tar.gz", tarfile.TarInfo("file"))
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(DownloadError, match=rf"^{archive}: is damaged \(.+\); remove it, and it is downloaded anew$"):
        unpack(archive, tmp_path / "there")


def test_folder_is_made_whole(tmp_path):
    with new_folder(tmp_path / "new") as part:
        (part / "file").write_text("text")
        assert not (tmp_path / "new").exists()
    assert [each.name for each in tmp_path.rglob("*")] == ["new", "file"]


def test_folder_is_not_made_at_all_if_the_work_fails(tmp_path):
    def work():
        with new_folder(tmp_path / "new") as part:
            (part / "file").write_text("text")
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert list(tmp_path.iterdir()) == []


def test_folder_that_another_process_has_made_stays(tmp_path):
    with new_folder(tmp_path / "new"):
        (tmp_path / "new").mkdir()
        (tmp_path / "new/theirs").write_text("text")
    assert [each.name for each in tmp_path.rglob("*")] == ["new", "theirs"]
