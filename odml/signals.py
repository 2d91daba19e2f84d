"""Requests to stop: Ctrl-C, ``kill``, a closed terminal.

``mlflow run`` passes a Ctrl-C on twice: SIGINT reaches the whole process group, and SIGTERM follows within
milliseconds. Both are one request here. A SIGHUP that the caller has had ignored (``nohup``) stays ignored; not so a
SIGINT, which shells ignore for all that a script starts with ``&``: who sends it then means this process.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A second SIGINT within this time is the same key press, seen again through a parent process.
SAME_REQUEST_SECONDS = 2.0


class StopSignals:
    """Turn requests to stop into a flag, so that a loop can finish its step and save.

    ::

        with StopSignals() as stop:
            while not stop:
                step()
        print(stop.reason)  # None, or "SIGINT", "SIGTERM", "SIGHUP"

    A SIGINT more than two seconds after the first request raises KeyboardInterrupt: the user means it. The
    handlers that were there before are put back at the end. Use it in the main thread.

    Args:
        on_request: called once, inside the signal handler, at the first request.
    """

    def __init__(self, on_request: Callable[[], None] | None = None) -> None:
        self.reason: str | None = None
        self._on_request = on_request
        self._requested_at = 0.0
        self._replaced: dict[signal.Signals, signal._HANDLER] = {}

    def __bool__(self) -> bool:
        return self.reason is not None

    def __enter__(self) -> StopSignals:
        self._replaced = _install(self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        _restore(self._replaced)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.reason is None:
            self.reason, self._requested_at = signal.Signals(number).name, now
            if self._on_request:
                self._on_request()
        elif number == signal.SIGINT and now - self._requested_at > SAME_REQUEST_SECONDS:
            raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt inside the block, as SIGINT does, so that it can clean up.

    What follows within two seconds is the same request and is ignored: it must not break the cleaning up.
    """
    raised_at = float("-inf")

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal raised_at
        previous, raised_at = raised_at, time.monotonic()
        if raised_at - previous > SAME_REQUEST_SECONDS:
            raise KeyboardInterrupt

    replaced = _install(handle)
    try:
        yield
    finally:
        _restore(replaced)


def _install(handler: Callable[[int, FrameType | None], None]) -> dict[signal.Signals, signal._HANDLER]:
    keeps_running = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    wanted = [number for number in STOPPING if not (keeps_running and number == signal.SIGHUP)]
    return {number: signal.signal(number, handler) for number in wanted}


def _restore(replaced: dict[signal.Signals, signal._HANDLER]) -> None:
    for number, handler in replaced.items():
        signal.signal(number, handler)
