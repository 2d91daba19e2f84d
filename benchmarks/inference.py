"""What a picture costs each form of an export: latency at batch 1, throughput at batch 8, in one run, taking turns.

    python -m benchmarks.inference /data/graph

The folder is that of an export; what its ``model.json`` tells of each form's mAP is printed too. Without one, a fresh
SSD of 3 classes is exported in all forms first. TensorFlow Lite takes one picture at a time and has no figure at batch
8. All run on the CPU, with as many threads as the runtime takes by itself, TensorFlow Lite with one a core (XNNPACK).

Prints wall and CPU milliseconds a picture (medians) and pictures a second. The last line, ``inference:
frozen_graph_ms=... frozen_graph_b8=... ...``, has wall milliseconds at batch 1, pictures a second at batch 8, and as
``_drop`` how far the mAP is below the checkpoint's, where it was measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from odml import architectures, config, tflite
from odml.errors import OdmlError
from odml.export import export, write_onnx
from odml.export.folder import drawn_batches
from odml.forms import FORMS, Detect
from odml.structures import LabelMap
from odml.tflite.conversion import Detector, convert_to_int8

TURNS = 20
BATCH = 8
_WARM_UP = 3


def export_fresh(folder: Path) -> Path:
    """Export a fresh SSD in all forms but float16, calibrated on drawn pictures, and give the export folder."""
    network = architectures.build(config.load("ssd_mobilenet_v2"), 3)
    label_map, graph = LabelMap(("a", "b", "c")), folder / "graph"
    export(network, graph, label_map=label_map, step=0)
    tflite.write(network, graph, forms=["float32"], label_map=label_map)
    pictures = [network.preprocess(tf.constant(image[None])).numpy() for batch in drawn_batches() for image in batch]
    int8 = convert_to_int8(Detector(network, label_map.names), lambda: pictures)
    (graph / FORMS["tflite_int8"].file).write_bytes(int8)
    write_onnx(network.detect, graph / FORMS["onnx"].file)
    return graph


def measure(detectors: dict[str, Detect], pictures: np.ndarray, turns: int) -> dict[str, float]:
    """Let detectors take turns at a batch, print their medians, and give wall milliseconds a picture."""
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in detectors}
    for turn in range(_WARM_UP + turns):
        for name, detect in detectors.items():
            cpu, wall = time.process_time(), time.perf_counter()
            np.asarray(detect(pictures)["num_detections"])
            if turn >= _WARM_UP:
                costs[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    medians = {}
    for name, pairs in costs.items():
        wall, cpu = (statistics.median(column) * 1000 / len(pictures) for column in zip(*pairs, strict=True))
        rate = 1000 / wall
        print(f"{name}, batch {len(pictures)}: {wall:.1f} wall ms and {cpu:.1f} CPU ms a picture, {rate:.1f} a second")
        medians[name] = wall
    return medians


def figures_of(graph: Path, turns: int) -> dict[str, float]:
    """Measure every form that an export folder has."""
    there = {name: form for name, form in FORMS.items() if form.is_in(graph)}
    detectors = {name: form.read(graph / form.file) for name, form in there.items()}
    pictures = drawn_batches()[0]
    pictures = np.tile(pictures, (BATCH // len(pictures), 1, 1, 1))
    one = measure(detectors, pictures[:1], turns)
    batched = {name: detect for name, detect in detectors.items() if there[name].batches}
    many = measure(batched, pictures, max(3, turns // 4))
    figures: dict[str, float] = {}
    for name in there:
        figures[f"{name}_ms"] = one[name]
        if name in many:
            figures[f"{name}_b8"] = 1000 / many[name]
    return figures | _drops(graph)


def _drops(graph: Path) -> dict[str, float]:
    """Read what the export has measured, and print it."""
    compared = json.loads((graph / "model.json").read_text()).get("comparison", {})
    found = {name: compared[name] for name in FORMS if compared.get(name, {}).get("mAP") is not None}
    for name, each in found.items():
        drop = each["mAP_drop"]
        print(f"{name}: mAP {each['mAP']:.3f} on {compared['examples']} pictures, {drop:.4f} below the checkpoint's")
    return {f"{name}_drop": each["mAP_drop"] for name, each in found.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.inference", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("graph", type=Path, nargs="?", help="an export folder; by default a fresh SSD is exported")
    parser.add_argument("--turns", type=int, default=TURNS, help=f"at batch 1, a quarter at batch 8; default {TURNS}")
    given = parser.parse_args(arguments)
    tf.config.set_visible_devices([], "GPU")
    try:
        with tempfile.TemporaryDirectory() as temporary:
            figures = figures_of(given.graph or export_fresh(Path(temporary)), given.turns)
    except OdmlError as error:
        print(f"inference: {error}")
        return 1
    print("inference: " + " ".join(f"{name}={value:.4g}" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
