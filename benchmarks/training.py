"""What a training step costs: SSD MobileNetV2 at 300 px, batch 24; Faster R-CNN ResNet-50 at 600 x 1024, batch 1.

SSD: real input and a cached batch, all layers trained and the recipe's first blocks frozen. Faster R-CNN: a cached
batch, all trained and the recipe's blocks frozen, and the memory that the process had taken by then. Prints CPU and
wall milliseconds (medians over the steps), all in one run; the last line is ``training: ratio=... frozen_ratio=...
resnet50_s=... resnet50_frozen_s=... resnet50_gb=...``: SSD's real input over cached and frozen over all trained, and
Faster R-CNN's CPU seconds a step and GB.

On another occasion, on two free cores, that step of Faster R-CNN, all trained, took the TF Object Detection API of 2020
2.9 CPU s (1.5 s wall) and 2.9 GB.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow as tf

from odml import architectures, batches, config, inspection, known_datasets, preparation, training
from odml.architectures import Architecture
from odml.records import Dataset

BATCH_SIZE = 24
TURNS = 3
STEPS = 4

Step = Callable[..., object]


def draw_dataset(folder: Path) -> Dataset:
    """Draw pictures of 640 x 480 and prepare them."""
    images, annotations = known_datasets.draw_shapes(folder, images=2 * BATCH_SIZE, seed=1, size=(640, 480))
    sources = preparation.by_source_id(inspection.inspect(images, annotations).annotations, images)
    split = preparation.split_sources(sources, val_split=0, seed=1)
    return preparation.write_dataset(sources, split, folder / "dataset", seed=1, name="shapes")


def build(model: str, num_classes: int, *, frozen_blocks: int) -> tuple[Architecture, Step]:
    """Make a network and its training step."""
    configuration = config.load(model)
    network = architectures.build(configuration, num_classes)
    network.freeze(frozen_blocks)
    optimizer = training.make_optimizer(configuration.training, network, steps=None)
    return network, training.make_step(network, optimizer)


def measure(step: Step, inputs: Mapping[str, tf.data.Dataset], *, images: int) -> list[float]:
    """Run steps of so many images on each input, by turns; print what an image costs, and give its CPU ms."""
    iterators = {name: iter(data) for name, data in inputs.items()}
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in inputs}
    for _ in range(TURNS):
        for name, iterator in iterators.items():
            # The first steps of a turn trace, or pay for what the turn before has left to be read ahead.
            for _ in range(2):
                step(iterator)
            for _ in range(STEPS):
                cpu, wall = time.process_time(), time.perf_counter()
                step(iterator)
                costs[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    medians = []
    for name, rows in costs.items():
        cpu, wall = (statistics.median(column) * 1000 / images for column in zip(*rows, strict=True))
        print(f"{name}: {cpu:.1f} CPU ms and {wall:.1f} wall ms an image", flush=True)
        medians.append(cpu)
    return medians


def measure_faster_rcnn() -> dict[str, float]:
    """Measure Faster R-CNN on ResNet-50 with one picture of three objects, not resized."""
    random = tf.random.Generator.from_seed(1)
    batch = {
        "images": random.uniform([1, 600, 1024, 3], 0, 255),
        "sizes": tf.constant([[600, 1024]]),
        "boxes": tf.constant([[[0.1, 0.2, 0.6, 0.4], [0.2, 0.5, 0.7, 0.7], [0.1, 0.1, 0.9, 0.6]]]),
        "classes": tf.constant([[1, 2, 3]]),
        "numbers": tf.constant([0], tf.int64),
    }
    cached = tf.data.Dataset.from_tensors(batch).repeat()
    frozen_blocks = config.load("faster_rcnn_resnet50").training.frozen_blocks
    _, step = build("faster_rcnn_resnet50", 3, frozen_blocks=0)
    (cost,) = measure(step, {"Faster R-CNN ResNet-50, all layers, cached batch": cached}, images=1)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # Linux counts kB
    print(f"Faster R-CNN ResNet-50, all layers: {memory:.1f} GB")
    _, step = build("faster_rcnn_resnet50", 3, frozen_blocks=frozen_blocks)
    name = f"Faster R-CNN ResNet-50, conv1 and {frozen_blocks} blocks frozen, cached batch"
    (frozen,) = measure(step, {name: cached}, images=1)
    return {"resnet50_s": cost / 1000, "resnet50_frozen_s": frozen / 1000, "resnet50_gb": memory}


def measure_ssd(folder: Path) -> dict[str, float]:
    """Measure SSD MobileNetV2 on drawn pictures."""
    dataset = draw_dataset(folder)
    num_classes = len(dataset.label_map)
    network, step = build("ssd_mobilenet_v2", num_classes, frozen_blocks=0)
    recipe = network.configuration.training
    data = batches.training_batches(
        dataset, batch_size=BATCH_SIZE, resize=network.resize, augment=recipe.augmentation, seed=1
    )
    cached = tf.data.Dataset.from_tensors(next(iter(data))).repeat()
    inputs = {"SSD, all layers, cached batch": cached, "SSD, all layers, real input": data}
    bare, real = measure(step, inputs, images=BATCH_SIZE)
    _, step = build("ssd_mobilenet_v2", num_classes, frozen_blocks=recipe.frozen_blocks)
    name = f"SSD, {recipe.frozen_blocks} blocks frozen, cached batch"
    (frozen,) = measure(step, {name: cached}, images=BATCH_SIZE)
    return {"ratio": real / bare, "frozen_ratio": frozen / bare}


def main() -> None:
    """Measure and print."""
    faster_rcnn = measure_faster_rcnn()  # first: the memory is the most that the process ever had
    with tempfile.TemporaryDirectory() as folder:
        figures = measure_ssd(Path(folder)) | faster_rcnn
    print("training: " + " ".join(f"{name}={value:.2f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
