"""What a frozen graph costs at batch 1: ours, and the original's with the same weights, in one run, taking turns.

Prints CPU and wall milliseconds a picture (medians); the last line is ``latency: ssd_ratio=... ssd3_ms=...
resnet50_s=... resnet101_s=...``: the CPU time of our SSD of 90 classes over that of the released one's own graph (both
with the released thresholds), our SSD of 3 classes, and our Faster R-CNNs with 300 proposals on a picture of 600 x 1024
pixels. Without a folder of goldens, which has the weights' rule and the released graph, weights are fresh and the ratio
is left out.

On another occasion, on two free cores, the graphs of the TF Object Detection API of 2020 took: SSD 14 ms with 3 classes
and 23 to 29 ms with 90, Faster R-CNN 2.3 CPU s (1.2 s wall) on ResNet-50 and 2.6 CPU s on ResNet-101.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as v1

from benchmarks import goldens
from benchmarks.goldens import Folder
from odml import architectures, config
from odml.architectures import Architecture
from odml.errors import OdmlError
from odml.export.freezing import INPUT, OUTPUTS, freeze, trace

SSD_TURNS = 60
FASTER_RCNN_TURNS = 7
_WARM_UP = 3

Run = Callable[[], object]


def original_graph(folder: Path, checkpoint: Path) -> v1.GraphDef:
    """Freeze a released model's own graph (``model.ckpt.meta`` of its folder) with a checkpoint's weights."""
    with v1.Session(graph=tf.Graph()) as session:
        saver = v1.train.import_meta_graph(str(folder / "model.ckpt.meta"), clear_devices=True)
        saver.restore(session, str(checkpoint))
        return v1.graph_util.convert_variables_to_constants(session, session.graph_def, list(OUTPUTS))


def our_graph(network: Architecture) -> v1.GraphDef:
    """Freeze a network as ``odml.export`` does."""
    return freeze(trace(network.detect))


def runner(graph: v1.GraphDef, picture: np.ndarray) -> Run:
    """Give what runs a frozen graph on a picture, as clients do: in a plain Session."""
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(graph, name="")
    run = v1.Session(graph=imported).make_callable([f"{name}:0" for name in OUTPUTS], [f"{INPUT}:0"])
    return lambda: run(picture[None])


def measure(runs: dict[str, Run], turns: int) -> dict[str, float]:
    """Let graphs take turns, print their medians, and give their CPU milliseconds."""
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(_WARM_UP + turns):
        for name, run in runs.items():
            cpu, wall = time.process_time(), time.perf_counter()
            run()
            if turn >= _WARM_UP:
                costs[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    medians = {}
    for name, pairs in costs.items():
        cpu, wall = (statistics.median(column) * 1000 for column in zip(*pairs, strict=True))
        print(f"{name}: {cpu:.1f} CPU ms and {wall:.1f} wall ms a picture", flush=True)
        medians[name] = cpu
    return medians


def measure_ssd(folder: Folder | None, picture: np.ndarray) -> dict[str, float]:
    """Measure the single-shot detectors, the released one among them if there is a folder."""
    runs = {"SSD, 3 classes": runner(our_graph(architectures.build(config.load("ssd_mobilenet_v2"), 3)), picture)}
    if not folder:
        return {"ssd3_ms": measure(runs, SSD_TURNS)["SSD, 3 classes"]}
    released = folder.path / goldens.RELEASED_SSD
    with tempfile.TemporaryDirectory() as temporary:
        network = folder.build(goldens.released(released), Path(temporary))
        runs["SSD, 90 classes, the original"] = runner(
            original_graph(released, Path(temporary) / "model.ckpt"), picture
        )
    runs["SSD, 90 classes"] = runner(our_graph(network), picture)
    medians = measure(runs, SSD_TURNS)
    ratio = medians["SSD, 90 classes"] / medians["SSD, 90 classes, the original"]
    return {"ssd_ratio": ratio, "ssd3_ms": medians["SSD, 3 classes"]}


def measure_faster_rcnn(folder: Folder | None, backbone: str) -> float:
    """Measure our Faster R-CNN with 300 proposals and 90 classes; give CPU seconds a picture."""
    network = architectures.build(config.load(f"faster_rcnn_{backbone}"), 90)
    if folder:
        for name, variable in architectures.by_slim_name(network.variables).items():
            variable.assign(folder.rule.value(name, variable.shape))
    picture = _noise(600, 1024) if folder is None else np.asarray(folder.rule.image(600, 1024))
    name = f"Faster R-CNN, {backbone}"
    return measure({name: runner(our_graph(network), picture)}, FASTER_RCNN_TURNS)[name] / 1000


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def main() -> int:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.latency", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=goldens.DEFAULT, help="of goldens")
    options = parser.parse_args()
    try:
        folder = Folder(options.folder) if options.folder.is_dir() else None
        if not folder:
            print(f"there are no goldens in {options.folder}: fresh weights, and no graph of the original's")
        picture = np.asarray(folder.rule.image(480, 640)) if folder else _noise(480, 640)
        figures = measure_ssd(folder, picture)
        figures |= {f"{backbone}_s": measure_faster_rcnn(folder, backbone) for backbone in ("resnet50", "resnet101")}
    except OdmlError as error:
        print(f"latency: {error}")
        return 1
    print("latency: " + " ".join(f"{name}={value:.2f}" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
