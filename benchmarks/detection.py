"""What detecting in many pictures costs beside the bare frozen graph, and the memory that it takes.

Copies pictures, drawn ones of 640 x 480 unless a folder is given, until there are as many as asked for. Then, part by
part, taking turns: the graph alone in a plain Session, a picture at a time, on the part's pictures read beforehand;
detect with ``json`` only; detect with drawn pictures too. Then, in a process of its own, detect in all of them with the
outputs that it has by default, while its memory is looked at after each picture. Prints a line for each; the last is
``detection: ratio=... drawn_ratio=... cpu_ratio=... images_per_second=... tenth_mb=... peak_mb=...``: pictures a second
with json, and with drawn pictures, over those of the bare graph; CPU seconds of the bare graph over those with json;
pictures a second with json; and the most MB that the process had until a tenth of the pictures, and until the end.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

# Nothing of odml here: the process that measures memory imports this module, and imports the rest by itself.

IMAGES = 200
DRAWN = 50
PARTS = 10
DEFAULT_OUTPUTS = ("drawn", "gallery", "json")


def copy_pictures(images: Path, folder: Path, *, count: int) -> list[Path]:
    """Fill folders, the parts, with a folder's pictures, again and again until there are enough; give the parts."""
    pictures = itertools.cycle(sorted(path for path in images.iterdir() if path.is_file()))
    parts = [folder / f"{number:02}" for number in range(min(PARTS, count))]
    for number, picture in zip(range(count), pictures, strict=False):
        part = parts[number * len(parts) // count]
        part.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, part / f"{number:05}{picture.suffix}")
    return parts


def bare_graph(graph: Path) -> Callable[[object], object]:
    """Give what runs a frozen graph on a picture, as clients do: in a plain Session."""
    import tensorflow.compat.v1 as v1

    from odml.detector import GRAPH_FILE, INPUT, OUTPUTS

    definition = v1.GraphDef.FromString((graph / GRAPH_FILE).read_bytes())
    with v1.Graph().as_default() as imported:
        v1.graph_util.import_graph_def(definition, name="")
    run = v1.Session(graph=imported).make_callable([f"{name}:0" for name in OUTPUTS], [f"{INPUT}:0"])
    return lambda image: run(image[None])  # type: ignore[index]


def detect(detector, images: Path, outputs: Sequence[str], at: Callable[[int], None] = lambda index: None) -> int:  # type: ignore[no-untyped-def]
    """Detect in a folder as the operation does, into a temporary folder; give how many pictures were done.

    Args:
        at: called with the place of each picture once it is written.
    """
    from odml.batch_detection import detect_all
    from odml.detection_outputs import OUTPUTS, Output, Setup
    from odml.selection import Selection
    from odml.sources import FileNames, find_sources

    class Watch(Output):
        def add(self, result, written):  # type: ignore[no-untyped-def]
            at(result.index)

    sources = find_sources(str(images))
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(Path(folder), detector.label_map, FileNames(sources.sources))
        made = [*(OUTPUTS[name](setup) for name in outputs), Watch(setup)]
        return detect_all(detector, sources, made, selection=Selection()).images


def take_turns(graph: Path, parts: Sequence[Path]) -> dict[str, tuple[float, float]]:
    """Give the wall and the CPU seconds that each way takes for all parts."""
    from odml.detector import Detector
    from odml.images import read_image

    detector, bare = Detector.load(graph), bare_graph(graph)
    seconds = {"bare graph": (0.0, 0.0), "json": (0.0, 0.0), "json and drawn": (0.0, 0.0)}
    detect(detector, parts[0], ["json", "drawn"])  # sets up what only the first pictures wait for
    for number, part in enumerate(parts):
        images = [read_image(path) for path in sorted(part.iterdir())]
        bare(images[0])
        ways: list[tuple[str, Callable[[], object]]] = [
            ("bare graph", lambda images=images: [bare(image) for image in images]),  # type: ignore[misc]
            ("json", lambda part=part: detect(detector, part, ["json"])),  # type: ignore[misc]
            ("json and drawn", lambda part=part: detect(detector, part, ["json", "drawn"])),  # type: ignore[misc]
        ]
        for name, way in ways[number % 3 :] + ways[: number % 3]:
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            seconds[name] = (
                seconds[name][0] + time.perf_counter() - wall,
                seconds[name][1] + time.process_time() - cpu,
            )
    return seconds


def measure_memory(graph: Path, folder: Path) -> tuple[float, float]:
    """Detect in all parts in this process; give the most MB it had until a tenth of the pictures, and until the end."""
    import psutil

    from odml.detector import Detector

    most: list[float] = []

    def look(index: int) -> None:
        most.append(max(most[-1] if most else 0.0, psutil.Process().memory_info().rss / 1e6))

    detect(Detector.load(graph), folder, DEFAULT_OUTPUTS, at=look)
    return most[max(1, len(most) // 10) - 1], most[-1]


def run(images: Path, graph: Path, folder: Path, *, count: int) -> dict[str, float]:
    """Measure with copies of the pictures, in a folder that has room for them."""
    parts = copy_pictures(images, folder / "pictures", count=count)
    seconds = take_turns(graph, parts)
    for name, (wall, cpu) in seconds.items():
        print(
            f"{count} pictures, {name}: {count / wall:.1f} a second, {1000 * cpu / count:.1f} CPU ms each", flush=True
        )
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        tenth, whole = fresh.submit(measure_memory, graph, folder / "pictures").result()
    print(f"{count} pictures, {', '.join(DEFAULT_OUTPUTS)}: {tenth:.0f} MB until a tenth, {whole:.0f} until the end")
    (bare, bare_cpu), (json, json_cpu), (drawn, _) = seconds.values()
    return {
        "ratio": bare / json,
        "drawn_ratio": bare / drawn,
        "cpu_ratio": bare_cpu / json_cpu,
        "images_per_second": count / json,
        "tenth_mb": tenth,
        "peak_mb": whole,
    }


def fresh_graph(folder: Path) -> Path:
    """Export the default network with fresh weights, which take as long as trained ones."""
    from odml import architectures, config
    from odml.export import export
    from odml.structures import LabelMap

    network = architectures.build(config.load("ssd_mobilenet_v2"), 1)
    export(network, folder, label_map=LabelMap(("object",)), step=0)
    return folder


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    from odml import known_datasets

    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument("images", nargs="?", type=Path, help="folder of pictures, with no folders in it")
    parser.add_argument("--graph", type=Path, help="graph folder of an export; default an SSD of fresh weights")
    parser.add_argument("--count", type=int, default=IMAGES, help=f"how many pictures; default {IMAGES}")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        images = given.images or known_datasets.draw_shapes(folder / "drawn", images=DRAWN, seed=1, size=(640, 480))[0]
        figures = run(images, given.graph or fresh_graph(folder / "graph"), folder, count=given.count)
    print("detection: " + " ".join(f"{name}={value:.2f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
