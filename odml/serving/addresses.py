"""Fetching a picture for a stranger: only from addresses that the operator allows, and only so much, so long."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any

from odml.errors import ImageError
from odml.serving.bad_request import quoted

_SECONDS = 10.0  # for the whole of a picture
_PIECE = 2**16
_PORTS = {"http": 80, "https": 443}


def is_allowed(address: str, allowed: Sequence[str]) -> bool:
    """Say whether an address lies below one of the allowed ones: same scheme, host and port, and a path below.

    A path with ".." in it, however it is written, lies nowhere, nor does an address with a user in it.
    """
    parts = _parts(address)
    return parts is not None and any(
        other is not None and parts[:3] == other[:3] and _is_below(parts[3], other[3]) for other in map(_parts, allowed)
    )


def fetch(address: str, *, allowed: Sequence[str], max_bytes: int, where: str) -> bytes:
    """Fetch what lies at an address; a redirection is followed where it is allowed too.

    Raises:
        ImageError: the address is not allowed, does not answer in ten seconds, or answers with more than ``max_bytes``.
    """
    if not is_allowed(address, allowed):
        raise ImageError(f"{where}: this server may not fetch {quoted(address)}; send the picture in the column image")
    until = time.monotonic() + _SECONDS
    opener = urllib.request.build_opener(_Redirections(allowed))
    request = urllib.request.Request(address, headers={"User-Agent": "odml", "Accept-Encoding": "identity"})
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            return _read(answer, max_bytes, until)
    except urllib.error.HTTPError as error:
        error.close()
        reason = str(error.code) if error.code < 300 or error.code >= 400 else "it leads elsewhere"
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = str(error.reason if isinstance(error, urllib.error.URLError) else error) or type(error).__name__
    raise ImageError(f"{where}: {quoted(address)} cannot be fetched ({reason}); send another address")


class _Redirections(urllib.request.HTTPRedirectHandler):
    max_redirections = 3

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = allowed

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not is_allowed(newurl, self._allowed):
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _read(answer: Any, max_bytes: int, until: float) -> bytes:
    """Read piece by piece: a timeout of the socket alone lets a slow server hold on for ever."""
    pieces, size = [], 0
    while piece := answer.read1(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            raise ValueError(f"it has more than {max_bytes} bytes")
        if time.monotonic() > until:
            raise TimeoutError(f"it takes more than {_SECONDS:.0f} seconds")
    return b"".join(pieces)


def _parts(address: str) -> tuple[str, str, int, str] | None:
    """Give scheme, host, port and path of an address as it is asked for, None where it is not taken."""
    try:
        split = urllib.parse.urlsplit(address)
        port = split.port or _PORTS.get(split.scheme, 0)
    except ValueError:
        return None
    path = urllib.parse.unquote(split.path)
    if not split.hostname or not port or "@" in split.netloc or "\\" in path or ".." in path.split("/"):
        return None
    return split.scheme, split.hostname, port, split.path


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder if folder.endswith("/") else f"{folder}/")
