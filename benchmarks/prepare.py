"""What preparing costs: pictures a second, beside a plain copy of the same files, and the memory that it takes.

Copies annotated pictures, drawn ones of 640 x 480 unless folders are given, until there are as many as asked for, and
prepares them: in one process and in one thread, in two processes, and on Spark (``local[2]``) if pyspark and Java are
there; each time from a process of its own, which has imported everything before its clock runs. Between them it copies
the files with ``cp -r``. Prints, for each, the pictures a second of inspecting (with statistics and split) and of
writing, starts of further processes included; the last line is ``prepare: images_per_second=... copy_ratio=...
two_processes=... [spark=...] cpu_ms=... tenth_mb=... whole_mb=...``: pictures a second of the whole of prepare with
one process, the same over that of ``cp -r``, with two processes over with one, and on Spark over with one, one
process's CPU milliseconds a picture, and by how many MB preparing raises the most memory that the process ever had,
with a tenth of the pictures and with all.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

# Nothing of odml here: the processes that inspect import this module, and need no TensorFlow.

IMAGES = 1000
DRAWN = 100
FILE_MEGABYTES = 5


@dataclass(frozen=True)
class Cost:
    """Of preparing so many pictures: wall seconds, CPU seconds of the process itself, and MB added to its peak."""

    images: int
    inspecting: float
    writing: float
    cpu: float
    megabytes: float

    @property
    def rate(self) -> float:
        """Pictures a second of all of it."""
        return self.images / (self.inspecting + self.writing)


def copy_set(images: Path, annotations: Path, folder: Path, *, count: int) -> None:
    """Fill a folder with ``images`` and ``annotations``: the first ones of a set, all over again until it is enough.

    Each round has folders of its own, so that each annotation finds the picture beside it by its name.
    """
    pairs = [
        (picture, annotations / f"{picture.stem}.xml")
        for picture in sorted(images.iterdir())
        if (annotations / f"{picture.stem}.xml").is_file()
    ]
    for number in range(count):
        turn, place = divmod(number, len(pairs))
        for kind, file in zip(("images", "annotations"), pairs[place], strict=True):
            target = folder / kind / f"{turn:05}"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)


def measure(folder: Path, engine: str, workers: int) -> Cost:
    """Prepare a set in this process, which has done nothing else before."""
    from odml import preparation
    from odml.engines import find_engine
    from odml.inspection import inspect
    from odml.inspection.statistics import summarize

    before, cpu, start = _peak(), time.process_time(), time.perf_counter()
    images = folder / "images"
    with (
        find_engine(engine, workers=workers, spark_master="local[2]") as working,
        tempfile.TemporaryDirectory(dir=folder) as target,
    ):
        inspection = inspect(images, folder / "annotations", engine=working)
        summarize(inspection.annotations, digests=inspection.digests)
        sources = preparation.by_source_id(inspection.annotations, images)
        split = preparation.split_sources(sources, val_split=20, seed=1, looks=inspection.looks)
        inspected = time.perf_counter()
        preparation.write_dataset(
            sources, split, Path(target) / "records", seed=1, max_file_size=FILE_MEGABYTES, engine=working
        )
        written = time.perf_counter()
    return Cost(
        images=len(sources),
        inspecting=inspected - start,
        writing=written - inspected,
        cpu=time.process_time() - cpu,
        megabytes=_peak() - before,
    )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # Linux counts kB


def prepare(folder: Path, *, engine: str = "local", workers: int = 1) -> Cost:
    """Prepare a set in a fresh process, and print what it costs."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        cost = fresh.submit(measure, folder, engine, workers).result()
    who = engine if engine != "local" else f"{workers} process{'es' * (workers > 1)}"
    print(
        f"{cost.images} pictures, {who}: {cost.images / cost.inspecting:.0f} inspected and "
        f"{cost.images / cost.writing:.0f} written a second, {cost.megabytes:.0f} MB more",
        flush=True,
    )
    return cost


def copy(folder: Path) -> float:
    """Give the seconds that ``cp -r`` takes for a set."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as target:
        start = time.perf_counter()
        subprocess.run(["cp", "-r", folder, target], check=True)
        return time.perf_counter() - start


def run(images: Path, annotations: Path, folder: Path, *, count: int) -> dict[str, float]:
    """Measure with copies of a set, in a folder that has room for them three times."""
    for name, size in (("tenth", max(1, count // 10)), ("whole", count)):
        copy_set(images, annotations, folder / name, count=size)
    tenth = prepare(folder / "tenth")
    seconds = [copy(folder / "whole")]
    one = prepare(folder / "whole")
    seconds.append(copy(folder / "whole"))
    two = prepare(folder / "whole", workers=2)
    seconds.append(copy(folder / "whole"))
    copying = sum(seconds) / len(seconds)
    print(f"{count} pictures, cp -r: {count / copying:.0f} a second")
    spark = {}
    if importlib.util.find_spec("pyspark") and shutil.which("java"):
        spark["spark"] = prepare(folder / "whole", engine="spark").rate / one.rate
    return {
        "images_per_second": one.rate,
        "copy_ratio": one.rate * copying / count,
        "two_processes": two.rate / one.rate,
        **spark,
        "cpu_ms": 1000 * one.cpu / one.images,
        "tenth_mb": tenth.megabytes,
        "whole_mb": one.megabytes,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    from odml import known_datasets

    parser = argparse.ArgumentParser(prog="python -m benchmarks.prepare", description=__doc__)
    parser.add_argument("images", nargs="?", type=Path, help="folder of pictures, with no folders in it")
    parser.add_argument("annotations", nargs="?", type=Path, help="folder of their Pascal VOC files")
    parser.add_argument("--count", type=int, default=IMAGES, help=f"how many pictures; default {IMAGES}")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.images and given.annotations:
            images, annotations = given.images, given.annotations
        else:
            images, annotations = known_datasets.draw_shapes(folder / "drawn", images=DRAWN, seed=1, size=(640, 480))
        figures = run(images, annotations, folder, count=given.count)
    print("prepare: " + " ".join(f"{name}={value:.2f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
