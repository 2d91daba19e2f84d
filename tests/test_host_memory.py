from __future__ import annotations

import threading
from pathlib import Path

import psutil
import pytest

from odml.host_memory import Room, free_memory, guarded, rooms

MIB = 2**20
FILES_OF_V2 = ("memory.max", "memory.current", "inactive_file {}\nactive_file {}\nanon 9\n")
FILES_OF_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file {}\ntotal_active_file {}\n")


def write_group(folder: Path, files: tuple[str, str, str], *, limit: str, used: int, cached: tuple[int, int]) -> None:
    folder.mkdir(parents=True)
    limit_file, used_file, statistics = files
    (folder / limit_file).write_text(f"{limit}\n")
    (folder / used_file).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(statistics.format(*cached))


def write_membership(root: Path, lines: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)


def test_process_without_a_container_has_the_machine(tmp_path):
    (room,) = rooms(tmp_path)
    assert 0 < room.free < room.limit == psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("membership", "folder", "files"),
    [
        ("0::/\n", "sys/fs/cgroup", FILES_OF_V2),
        ("0::/user.slice/mine.scope\n", "sys/fs/cgroup/user.slice", FILES_OF_V2),
        ("1:cpu:/other\n4:memory:/docker/12ab\n0::/\n", "sys/fs/cgroup/memory/docker/12ab", FILES_OF_V1),
        ("4:memory,hugetlb:/docker/12ab\n", "sys/fs/cgroup/memory", FILES_OF_V1),
    ],
    ids=["version 2", "group around its own", "version 1", "named by the host's path"],
)
def test_container_with_less_memory_than_the_machine(tmp_path, membership, folder, files):
    write_membership(tmp_path, membership)
    write_group(tmp_path / folder, files, limit="1000000", used=700_000, cached=(300_000, 100_000))
    # Cached files give way.
    assert rooms(tmp_path)[1:] == [Room(free=700_000, limit=1_000_000)]
    assert free_memory(tmp_path) == 700_000


def test_group_without_a_limit_has_the_machine(tmp_path):
    write_membership(tmp_path, "0::/mine\n")
    write_group(tmp_path / "sys/fs/cgroup/mine", FILES_OF_V2, limit="max", used=700_000, cached=(0, 0))
    assert len(rooms(tmp_path)) == 1


def watch(found: list[Room], *, swap: int = 0) -> list[str]:
    """Watch until all of these have been measured, the last one several times; give what was said."""
    said: list[str] = []
    enough = threading.Event()
    left = [*found, *[found[-1]] * 3]

    def measure() -> list[Room]:
        if len(left) == 1:
            enough.set()
        return [Room(free=100_000 * MIB, limit=200_000 * MIB), left.pop(0) if len(left) > 1 else left[0]]

    def end(line: str) -> None:
        said.append(line)
        enough.set()

    with guarded(end, advice="batch_size=4", measure=measure, measure_swap=lambda: swap):
        assert enough.wait(60)
    return said


def test_memory_that_runs_out_is_said_once():
    line = "memory runs out: of 10.5 GB 0.2 are left; give batch_size=4, or stop other programs"
    assert watch([Room(free=MIB * free, limit=10_000 * MIB) for free in (250, 201, 199)]) == [line]


@pytest.mark.parametrize(
    ("free", "limit", "runs_out"),
    [(201, 10_000, False), (199, 10_000, True), (65, 1000, False), (63, 1000, True), (-5, 1000, True)],
)
def test_the_last_fiftieth_is_kept_and_64_mib_at_least(free, limit, runs_out):
    assert bool(watch([Room(free=free * MIB, limit=limit * MIB)])) == runs_out


def test_nothing_runs_out_while_there_is_swap():
    room = Room(free=0, limit=1000 * MIB)
    assert watch([room], swap=64 * MIB) == []
    assert len(watch([room], swap=63 * MIB)) == 1
