from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from odml.errors import ImageError
from odml.serving import addresses
from odml.serving.addresses import fetch, is_allowed


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("https://host/photos/a.png", True),
        ("https://HOST:443/photos/a%20b.png?size=1", True),
        ("https://host/photos/", True),
        ("https://host/photos", False),
        ("https://host/photos2/a.png", False),
        ("http://host/photos/a.png", False),
        ("https://host:444/photos/a.png", False),
        ("https://host.evil/photos/a.png", False),
        ("https://host@evil/photos/a.png", False),
        ("https://evil/https://host/photos/", False),
        ("https://host/photos/../a.png", False),
        ("https://host/photos/%2e%2e/a.png", False),
        ("https://host/photos/..\\a.png", False),
        ("https://host:port/photos/a.png", False),
        ("https://[/photos/", False),
        ("file:///photos/a.png", False),
        ("", False),
    ],
)
def test_address_is_allowed_below_one_that_is(address, allowed):
    assert is_allowed(address, ["https://host/photos/"]) == allowed


class Site(BaseHTTPRequestHandler):
    """Answers by the path that is asked for."""

    def do_GET(self):
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to"))
            self.end_headers()
        elif self.path == "/a/missing":
            self.send_error(404)
        elif self.path == "/a/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(20):
                self.wfile.write(b"x")
                time.sleep(0.05)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 1000)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def site():
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def get(site: str, path: str, *, allowed: tuple[str, ...] = ("/a/", "/to/"), max_bytes: int = 1000) -> bytes:
    below = [site + each for each in allowed]
    return fetch(site + path, allowed=below, max_bytes=max_bytes, where="row 1 of 1")


def refusal(site: str, path: str, **options) -> str:
    with pytest.raises(ImageError) as raised:
        get(site, path, **options)
    return str(raised.value).replace(site, "SITE")


def test_address_is_fetched(site):
    assert get(site, "/a/b") == b"x" * 1000


def test_redirection_is_followed_only_where_it_is_allowed(site):
    assert get(site, "/to/a/b") == b"x" * 1000
    message = "row 1 of 1: 'SITE{}' cannot be fetched (it leads elsewhere); send another address"
    assert refusal(site, "/to/secret") == message.format("/to/secret")
    assert refusal(site, "/to/to/to/to/to/a/b") == message.format("/to/to/to/to/to/a/b")


def test_address_that_is_not_allowed_is_not_asked(site):
    assert refusal(site, "/secret") == (
        "row 1 of 1: this server may not fetch 'SITE/secret'; send the picture in the column image"
    )


def test_what_cannot_be_fetched_says_why(site):
    assert refusal(site, "/a/missing") == "row 1 of 1: 'SITE/a/missing' cannot be fetched (404); send another address"
    assert refusal(site, "/a/b", max_bytes=999) == (
        "row 1 of 1: 'SITE/a/b' cannot be fetched (it has more than 999 bytes); send another address"
    )
    assert "cannot be fetched ([Errno" in refusal("http://127.0.0.1:1", "/a/b")


def test_server_that_never_ends_is_left(site, monkeypatch):
    monkeypatch.setattr(addresses, "_SECONDS", 0.2)
    assert refusal(site, "/a/slow") == (
        "row 1 of 1: 'SITE/a/slow' cannot be fetched (it takes more than 0 seconds); send another address"
    )
