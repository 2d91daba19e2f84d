"""Ten thousand requests that no server should accept: each must get a 4xx and one line that says why.

    python -m benchmarks.fuzz_serving                        a small detector behind odml's server, in this process
    python -m benchmarks.fuzz_serving --url http://HOST:PORT     any server that speaks MLflow's scoring protocol

Prints what was answered to each kind of request, and ends with
``fuzz_serving: requests=... refused=... wrong=... alive=...``: ``wrong`` are answers of another status than 4xx or
without a message of one line, and good requests in between that were not answered; it must be 0.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import random
import struct
import sys
import tempfile
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

JSON = "application/json"
BATCH = 100
SMALL = "ssd_mobilenet_v2_shapes"
LONGEST_LINE = 500

Send = Callable[[bytes, str | None], tuple[int, bytes]]
Body = tuple[bytes, str | None]


@dataclass(frozen=True)
class Answer:
    """What a server said to one request; ``message`` is None where it said nothing that can be read."""

    status: int
    message: str | None

    @property
    def is_refusal(self) -> bool:
        """Whether it is a 4xx with one line."""
        line = self.message or ""
        return 400 <= self.status < 500 and 0 < len(line) <= LONGEST_LINE and "\n" not in line

    @classmethod
    def of(cls, status: int, body: bytes) -> Answer:
        """Read the message of an answer; a trace beside it counts as none."""
        try:
            content = json.loads(body)
        except ValueError:
            return cls(status, None)
        clear = isinstance(content, dict) and "stack_trace" not in content
        return cls(status, content.get("message") if clear else None)


def picture(width: int = 60, height: int = 40, kind: str = "png") -> bytes:
    """Encode a picture of noise."""
    encoded = io.BytesIO()
    Image.frombytes("RGB", (width, height), random.Random(width).randbytes(width * height * 3)).save(encoded, kind)
    return encoded.getvalue()


def hollow_png(width: int, height: int) -> bytes:
    """Give a PNG that claims a size and has no pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def asking(value: Any, params: Any = None) -> bytes:
    """Give a request of one row."""
    body = {"dataframe_split": {"columns": ["image"], "data": [[value]]}}
    return json.dumps(body if params is None else body | {"params": params}).encode()


def encoded(stored: bytes) -> str:
    """Give bytes as base64 text."""
    return base64.b64encode(stored).decode()


GOOD = asking(encoded(picture()))
_JPEG, _PNG = picture(kind="jpeg"), picture()


def _broken_base64(chance: random.Random) -> Body:
    text = encoded(_PNG)
    at = chance.randrange(len(text))
    return asking(
        chance.choice([text[:at] + chance.choice("é!*\u2028\ud800\0") + text[at:], text[: 4 * (at // 4) + 1]])
    ), JSON


def _truncated(chance: random.Random) -> Body:
    stored = chance.choice([_JPEG, _PNG])
    return asking(encoded(stored[: chance.randrange(len(stored) - 20)])), JSON


def _noise(chance: random.Random) -> Body:
    return asking(
        encoded(chance.choice([b"", b"\xff\xd8\xff", b"\x89PNG", b"GIF89a", b"RIFF", b"BM"]) + chance.randbytes(99))
    ), JSON


def _huge_dimensions(chance: random.Random) -> Body:
    return asking(encoded(hollow_png(*(int(10 ** chance.uniform(3.9, 9)) for _ in range(2))))), JSON


def _wrong_value(chance: random.Random) -> Body:
    value = chance.choice([None, 7, 1.5, True, [], {}, [1, 2], {"b64": encoded(_PNG)}, "", " ", 10**400, float("nan")])
    return asking(value), JSON


def _wrong_parameter(chance: random.Random) -> Body:
    bad: dict[str, list[Any]] = {
        "score_threshold": [-0.1, 1.5, "high", float("nan"), float("inf"), [], {}, True, 10**400],
        "max_detections": [0, -1, 1.5, "all", float("nan"), [], {}, True, float("-inf")],
        "classes": ["dog", ["dog"], [1], {}, 7, [None], [[]]],
        "errors": ["ignore", "", 1, [], {}],
        "threshold": [0.5],
        "\ud800": [1],
    }
    name = chance.choice(list(bad))
    params = {name: chance.choice(bad[name])}
    return asking(encoded(_PNG), chance.choice([params, params, [params], "params", 7])), JSON


def _wrong_columns(chance: random.Random) -> Body:
    text = encoded(_PNG)
    table: Any = chance.choice(
        [
            {"columns": ["picture"], "data": [[text]]},
            {"columns": ["image", "image2"], "data": [[text]]},
            {"columns": ["image"], "data": [[text], [text, text]]},
            {"columns": ["image"], "data": [text]},
            {"columns": ["image"], "data": text},
            {"columns": "image", "data": [[text]]},
            {"columns": [["image"]], "data": [[text]]},
            {"columns": ["path"], "data": [["/etc/passwd"]]},
            {"columns": ["url"], "data": [["http://169.254.169.254/"]]},
            {"columns": ["image", "path"], "data": [[text, "/etc/passwd"]]},
            {"columns": ["image"]},
            [],
            7,
            None,
        ]
    )
    return json.dumps({"dataframe_split": table}).encode(), JSON


def _wrong_form(chance: random.Random) -> Body:
    row = {"image": encoded(_PNG)}
    body = chance.choice(
        [
            {},
            [],
            [row],
            7,
            None,
            "text",
            {"image": row["image"]},
            {"instances": [row], "inputs": [row]},
            {"dataframe_records": row},
            {"dataframe_records": [row, 7]},
            {"dataframe_records": [row, [row]]},
            {"inputs": 7},
            {"inputs": {"image": [row["image"]], "path": []}},
            {"instances": [7]},
            {"instances": [[row]]},
            {"dataframe_records": [row], "signature_name": "x"},
            {"messages": [row]},
            {"prompt": "what is in it?"},
        ]
    )
    return json.dumps(body).encode(), JSON


def _deep(chance: random.Random) -> Body:
    depth = chance.randrange(100, 200_000)
    opening, closing = chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return opening * depth + b"1" + closing * depth, JSON


def _no_json(chance: random.Random) -> Body:
    at = chance.randrange(1, len(GOOD) - 1)
    cut, swapped = GOOD[:at], GOOD[:at] + chance.choice([b"\xff", b"\xc3\x28", b"\0", b"\n", b'"']) + GOOD[at:]
    return chance.choice(
        [b"", b"{", b"\xef\xbb\xbf{", b"9" * 5000, cut, swapped, chance.randbytes(50), GOOD.decode().encode("utf-16")]
    ), JSON


def _wrong_type(chance: random.Random) -> Body:
    kinds = [
        None,
        "",
        "text/plain",
        "image/jpeg",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "\xff",
        "a" * 2000,
    ]
    return chance.choice([GOOD, _JPEG, b""]), chance.choice(kinds)


def _too_many_rows(chance: random.Random) -> Body:
    return json.dumps({"inputs": [{"image": "x"}] * chance.randrange(65, 5000)}).encode(), JSON


KINDS: dict[str, Callable[[random.Random], Body]] = {
    "broken base64": _broken_base64,
    "truncated picture": _truncated,
    "noise for a picture": _noise,
    "huge dimensions": _huge_dimensions,
    "wrong value": _wrong_value,
    "wrong parameter": _wrong_parameter,
    "wrong columns": _wrong_columns,
    "wrong form": _wrong_form,
    "deep JSON": _deep,
    "no JSON": _no_json,
    "wrong content type": _wrong_type,
    "too many rows": _too_many_rows,
}


def malformed(count: int, *, seed: int) -> Iterator[tuple[str, Body]]:
    """Yield requests with the names of their kinds, the kinds taking turns."""
    chance = random.Random(seed)
    names = list(KINDS)
    for index in range(count):
        name = names[index % len(names)]
        yield name, KINDS[name](chance)


def to_app(app: Any) -> Send:
    """Give what sends a request to an ASGI application in this process."""

    async def post(body: bytes, kind: str | None) -> tuple[int, bytes]:
        headers = [(b"content-type", kind.encode("latin-1"))] if kind is not None else []
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/invocations",
            "raw_path": b"/invocations",
            "root_path": "",
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        return sent[0]["status"], b"".join(each.get("body", b"") for each in sent[1:])

    runner = asyncio.Runner()
    return lambda body, kind: runner.run(post(body, kind))


def to_server(url: str) -> Send:
    """Give what sends a request to a server."""

    def post(body: bytes, kind: str | None) -> tuple[int, bytes]:
        request = urllib.request.Request(f"{url}/invocations", body, method="POST")
        # Without one urllib would name one of its own.
        request.add_header("Content-Type", kind or "")
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    return post


def fuzz(send: Send, count: int, *, seed: int = 0, show: bool = False) -> tuple[int, list[str]]:
    """Send malformed requests, and a good one after each hundred; give how many were refused, and what was wrong."""
    wrong: list[str] = []
    statuses: dict[str, Counter[int]] = {name: Counter() for name in KINDS}
    examples: dict[str, str] = {}
    for index, (name, (body, kind)) in enumerate(malformed(count, seed=seed), start=1):
        answer = Answer.of(*send(body, kind))
        statuses[name][answer.status] += 1
        examples[name] = answer.message or examples.get(name, "")
        if not answer.is_refusal:
            wrong.append(f"{name}: {answer.status} {answer.message!r:.200} to {kind} {body[:200]!r}")
        if index % BATCH == 0 and (good := send(GOOD, JSON))[0] != 200:
            wrong.append(f"a good request after {index}: {good[0]} {good[1][:200]!r}")
    if show:
        for name, counts in statuses.items():
            print(f"{name}: {dict(counts)}, for instance {examples.get(name)}")
    return count - len(wrong), wrong


def saved_model(folder: Path, model: str) -> Path:
    """Write a served model with fresh weights of three classes."""
    from odml import architectures, config
    from odml.export import export
    from odml.serving import save_detector
    from odml.structures import LabelMap

    label_map = LabelMap(("circle", "square", "triangle"))
    network = architectures.build(config.load(model), len(label_map))
    export(network, folder / "graph", label_map=label_map, step=0)
    save_detector(folder / "graph", folder / "model", classes=label_map.names)
    return folder / "model"


def small_app() -> Any:
    """Give odml's server with a small detector behind it."""
    from odml.serving.app import build, load

    with tempfile.TemporaryDirectory() as folder:
        return build(load(str(saved_model(Path(folder), SMALL))), title="small")


def main() -> int:
    """Read the command line, send, and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.fuzz_serving", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", help="of a running server; default: odml's own, in this process")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    send = to_server(options.url) if options.url else to_app(small_app())
    refused, wrong = fuzz(send, options.requests, seed=options.seed, show=True)
    for line in wrong[:20]:
        print(line)
    alive = send(GOOD, JSON)[0] == 200
    print(f"fuzz_serving: requests={options.requests} refused={refused} wrong={len(wrong)} alive={alive}")
    return 0 if alive and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
