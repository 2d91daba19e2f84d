"""How far a long stage has come: a bar on a terminal, plain log lines with the time left elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")
_SECONDS_BETWEEN_LINES = 10.0

_log = logging.getLogger(__name__)


def progress(
    iterable: Iterable[_Item], *, total: int | None, description: str, done: int = 0, note: Callable[[], str] = str
) -> Iterator[_Item]:
    """Yield the items and show, on standard error, how many of ``total`` are done and how long the rest takes.

    On a terminal this is a bar; otherwise an INFO line every ten seconds, so that a log stays readable. A ``total``
    of None has no end; ``done`` of them were done before the iterable's first; ``note`` gives what else stands in the
    line.
    """
    if sys.stderr.isatty():
        yield from _with_bar(iterable, total, description, done, note)
    else:
        yield from _with_lines(iterable, total, description, done, note)


def _with_bar(
    iterable: Iterable[_Item], total: int | None, description: str, done: int, note: Callable[[], str]
) -> Iterator[_Item]:
    with tqdm(iterable, total=total, initial=done, desc=description, dynamic_ncols=True) as bar:
        for item in bar:
            yield item
            bar.set_postfix_str(note(), refresh=False)


def _with_lines(
    iterable: Iterable[_Item], total: int | None, description: str, done: int, note: Callable[[], str]
) -> Iterator[_Item]:
    started = last = time.monotonic()
    for count, item in enumerate(iterable, start=1):
        yield item
        now = time.monotonic()
        if count == 1:
            # The first item often waits for something to be set up or compiled: it says nothing of the speed.
            started = last = now
        elif now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            line = progress_line(done + count, total, speed=(count - 1) / (now - started), description=description)
            _log.info(", ".join(part for part in (line, note()) if part))


def progress_line(done: int, total: int | None, *, speed: float, description: str) -> str:
    """Say in one line how much is done, how fast (items a second), and how long the rest takes at that speed."""
    if total is None:
        return f"{description}: {done}, {speed:.1f} a second"
    left = timedelta(seconds=round((total - done) / speed))
    return f"{description}: {done} of {total} ({done / total:.0%}), {speed:.1f} a second, {left} left"
