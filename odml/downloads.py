"""Files from the network: resumed where an earlier try ended, verified, and there only once they are complete."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import BinaryIO, cast

from odml.errors import DownloadError
from odml.progress import progress

_MIB = 2**20
_TIMEOUT = 30.0  # seconds without a byte


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
        with path.with_name(f"{path.name}.partial").open("ab") as partial:
            # Runs that start together fetch a file once; those that waited find it complete.
            fcntl.flock(partial, fcntl.LOCK_EX)
            if not path.is_file():
                _complete(address, partial, path, sha256)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(f"{address}: cannot be downloaded into {path.parent} ({_reason(error)})") from None
    return path


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
