"""How far a long stage has come: a bar on a terminal, plain log lines with the time left elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")
_SECONDS_BETWEEN_LINES = 10.0

_log = logging.getLogger(__name__)


def progress(iterable: Iterable[_Item], *, total: int, description: str) -> Iterator[_Item]:
    """Yield the items and show, on standard error, how many of ``total`` are done and how long the rest takes.

    On a terminal this is a bar; otherwise an INFO line every ten seconds, so that a log stays readable.
    """
    if sys.stderr.isatty():
        yield from tqdm(iterable, total=total, desc=description, dynamic_ncols=True)
    else:
        yield from _with_lines(iterable, total, description)


def _with_lines(iterable: Iterable[_Item], total: int, description: str) -> Iterator[_Item]:
    started = last = time.monotonic()
    for done, item in enumerate(iterable, start=1):
        yield item
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            _log.info(progress_line(done, total, seconds=now - started, description=description))


def progress_line(done: int, total: int, *, seconds: float, description: str) -> str:
    """Say in one line how much is done after so many seconds, how fast, and how long the rest takes at that speed."""
    speed = done / seconds
    left = timedelta(seconds=round((total - done) / speed))
    return f"{description}: {done} of {total} ({done / total:.0%}), {speed:.1f} a second, {left} left"
