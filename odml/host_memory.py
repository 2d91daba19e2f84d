"""The memory that a process can still have, of its machine and of its container, and the end before it runs out.

The kernel ends a process that finds no memory without a word. ``guarded`` comes before it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

_RESERVE = 0.02  # of a limit: what a process grows by until it is ended
_LEAST_RESERVE = 64 * 2**20
_GROWTH = 8e9  # bytes a second: no process fills memory faster
_SECONDS_BETWEEN_SAMPLES = (0.005, 1.0)


@dataclass(frozen=True)
class Room:
    """Bytes of memory: ``limit`` in all, of which ``free`` can still be had without swapping."""

    free: int
    limit: int

    @property
    def spare(self) -> float:
        """What can be had before the rest is needed to end in good order; below 0 memory runs out."""
        return self.free - max(_RESERVE * self.limit, _LEAST_RESERVE)


def free_memory(root: Path = Path("/")) -> int:
    """Give the bytes that this process can still have: of the machine, or of its container where these are fewer."""
    return min(room.free for room in rooms(root))


def rooms(root: Path = Path("/")) -> list[Room]:
    """Give the room in the machine, and that in each control group of this process which has a limit.

    Cached files count as free: they give way.

    Args:
        root: where ``proc`` and ``sys`` are. Control groups are those of the Linux kernel's documentation, cgroup-v1
            and cgroup-v2, mounted at ``sys/fs/cgroup``.
    """
    machine = psutil.virtual_memory()
    found = (_room(group) for group in _groups(root))
    return [Room(free=machine.available, limit=machine.total), *(room for room in found if room)]


def _groups(root: Path) -> Iterator[Path]:
    """Give the folders of the groups that this process is in and of those around them, whether they are there or not.

    In a container the mounted tree can begin at its own group, which the kernel may name by the host's path.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if "memory" in controllers.split(",") or not controllers:
            tree = root / "sys/fs/cgroup" / ("memory" if controllers else "")
            path = Path(name.lstrip("/"))
            yield from (tree / each for each in (path, *path.parents))


def _room(group: Path) -> Room | None:
    """Give the room in a group, None where it has no limit."""
    for limit_file, used_file, prefix in (
        ("memory.max", "memory.current", ""),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        try:
            limit = int((group / limit_file).read_text())
            used = int((group / used_file).read_text())
            statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # no such group, or "max", which is no limit
            continue
        cached = sum(int(statistics[f"{prefix}{name}"]) for name in ("inactive_file", "active_file"))
        return Room(free=limit - used + cached, limit=limit)
    return None


@contextmanager
def guarded(
    end: Callable[[str], None],
    *,
    advice: str,
    measure: Callable[[], list[Room]] = rooms,
    measure_swap: Callable[[], int] = lambda: psutil.swap_memory().free,
) -> Iterator[None]:
    """Watch, during the block, that memory does not run out.

    Args:
        end: called once when it does, in a thread of its own, with a line that says so; it ends the process at once.
        advice: what to give the command, for that line.
        measure: gives the room there is.
        measure_swap: gives the bytes of swap that are free; while there are some, nothing runs out.
    """
    over = threading.Event()

    def watch() -> None:
        pause, longest = _SECONDS_BETWEEN_SAMPLES
        while not over.wait(pause):
            tightest = min(measure(), key=lambda room: room.spare)
            spare = tightest.spare + measure_swap()
            if spare < 0:
                end(_describe(tightest, advice))
                return
            pause = min(max(spare / _GROWTH, _SECONDS_BETWEEN_SAMPLES[0]), longest)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _describe(room: Room, advice: str) -> str:
    left = max(room.free, 0) / 1e9
    return f"memory runs out: of {room.limit / 1e9:.1f} GB {left:.1f} are left; give {advice}, or stop other programs"
