"""Work on many items at once, results in the items' order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def parallel_map(
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    *,
    workers: int | None = None,
    ahead: int | None = None,
) -> Generator[_Result]:
    """Yield ``function(item)`` in the items' order, computed ahead on all cores, but only a few items ahead.

    Threads, not processes: Pillow decodes and files are read outside Python's lock (1.9 times as fast on 2 cores as
    one thread), no picture is copied between processes, and Ctrl-C reaches one process only. However many items
    there are, no more than ``ahead`` results wait in memory. What has not begun when the results are no longer asked
    for is not done.

    Args:
        workers: how many threads; None: one a core.
        ahead: how many items may be computed before they are asked for; None: four a worker.
    """
    workers = workers or os.cpu_count() or 1
    ahead = ahead or 4 * workers
    remaining = iter(items)
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(workers) as executor:
        try:
            waiting.extend(executor.submit(function, item) for item in islice(remaining, ahead))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(executor.submit(function, item) for item in islice(remaining, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()
