"""Files from the network: resumed where an earlier try ended, verified, and there only once they are complete.

What comes packed is unpacked here too.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import re
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import BinaryIO, cast

from odml.errors import DownloadError
from odml.progress import progress

_MIB = 2**20
_TIMEOUT = 30.0  # seconds without a byte


@dataclass(frozen=True)
class Published:
    """A file in the network; ``sha256`` None: its publisher tells none."""

    address: str
    sha256: str | None

    @property
    def name(self) -> str:
        """Its name in the cache, too."""
        return self.address.rsplit("/", 1)[-1]


def cache_folder() -> Path:
    """Give the folder that downloads are kept in: ``$ODML_CACHE``, else ``odml`` in the user's cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "odml"
    return Path(os.environ.get("ODML_CACHE") or home).expanduser()


def download(address: str, path: Path, *, sha256: str | None) -> Path:
    """Give a file that is downloaded if it is not there yet.

    What an interrupted download left in ``<path>.partial`` is gone on with, if the server can send the rest alone.

    Args:
        path: its folder is made if missing.
        sha256: the file's digest in hexadecimal digits; of a file that is there already it is checked too. None: it
            is not known.
    Returns:
        The path.
    Raises:
        DownloadError: the server cannot be reached, does not have the file or stops; the folder cannot be written;
            or the file has another digest. A download with another digest is removed, a file that was there is not.
    """
    if path.is_file():
        _verify(path, sha256, "remove the file, and it is downloaded anew")
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lone(path.with_name(f"{path.name}.partial")) as partial:
            # Runs that start together fetch a file once; those that waited find it complete.
            if not path.is_file():
                _complete(address, partial, path, sha256)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(f"{address}: cannot be downloaded into {path.parent} ({_reason(error)})") from None
    return path


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Make a folder whole or not at all: the block fills one beside it, which at the block's end takes its name.

    If another process has made the folder meanwhile, that one stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield part
        part.chmod(0o755)  # mkdtemp's own is for this user alone
        if not folder.exists():
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive, compressed or not, into a folder.

    Raises:
        DownloadError: the archive is damaged, cannot be written here, or holds what would lie outside of the folder.
    """
    try:
        with tarfile.open(archive) as tar:
            for member in progress(tar, total=None, description=f"unpacking {archive.name}, files"):
                tar.extract(member, folder, filter="data")
    except tarfile.FilterError as error:
        raise DownloadError(f"{archive}: is not unpacked, as it would write elsewhere ({error}); remove it") from None
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise DownloadError(f"{archive}: is damaged ({_reason(error)}); remove it, and it is downloaded anew") from None
    except OSError as error:
        raise DownloadError(f"{archive}: cannot be unpacked into {folder.parent} ({_reason(error)})") from None


@contextmanager
def _lone(path: Path) -> Iterator[BinaryIO]:
    """Open a file to append to, for this process alone; it is made if missing, and not left behind empty."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not _is_at(file, path):  # another has completed or removed it meanwhile
            with _lone(path) as anew:
                yield anew
            return
        try:
            yield file
        finally:
            if _is_at(file, path) and not path.stat().st_size:
                path.unlink()


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _complete(address: str, partial: BinaryIO, path: Path, sha256: str | None) -> None:
    _fetch(address, partial, name=path.name)
    partial.flush()
    try:
        _verify(Path(partial.name), sha256, f"it is removed; try again, or put the right file there as {path.name}")
    except DownloadError:
        os.unlink(partial.name)
        raise
    os.replace(partial.name, path)


def _verify(path: Path, sha256: str | None, advice: str) -> None:
    if sha256 is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise DownloadError(f"{path}: is not the file that was published (sha256 {found}, not {sha256}); {advice}")


def _fetch(address: str, partial: BinaryIO, *, name: str) -> None:
    """Append what is missing of a file, or all of it if the server cannot begin in its midst."""
    have = partial.seek(0, os.SEEK_END)
    try:
        response = _open(address, have)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if _total(error.headers.get("Content-Range")) == have:
            return
        response = _open(address, 0)
    with response:
        if not _goes_on(response, have):
            have = partial.truncate(0)
        _append(response, partial, have=have, name=name)


def _open(address: str, have: int) -> HTTPResponse:
    headers = {"User-Agent": "odml"} | ({"Range": f"bytes={have}-"} if have else {})
    return cast(
        HTTPResponse, urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=_TIMEOUT)
    )


def _goes_on(response: HTTPResponse, have: int) -> bool:
    """Say whether the server sends what comes after the bytes that are there, and not the whole file."""
    sent = response.headers.get("Content-Range", "")
    return response.status == http.client.PARTIAL_CONTENT and sent.startswith(f"bytes {have}-")


def _total(content_range: str | None) -> int | None:
    match = re.fullmatch(r"bytes .*/(\d+)", content_range or "")
    return int(match[1]) if match else None


def _append(response: HTTPResponse, file: BinaryIO, *, have: int, name: str) -> None:
    length = response.headers.get("Content-Length")
    total = None if length is None else have + int(length)
    blocks = None if total is None else -(-(total - have) // _MIB)
    for block in progress(_blocks(response), total=blocks, description=f"{name}, MiB"):
        file.write(block)
        have += len(block)
    # At a lost connection the stream just ends.
    if total is not None and have < total:
        raise ConnectionError(f"the connection ended after {have} of {total} bytes; try again to go on from there")


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    while block := response.read(_MIB):
        yield block


def _reason(error: Exception) -> str:
    """Say in a few words, on one line, what happened."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return " ".join(text.split()) or type(cause).__name__
