"""What a training step costs: SSD MobileNetV2 at 300 px, batch 24, with real input over the same on a cached batch.

Prints, for each, CPU and wall milliseconds an image (medians over the steps), all in one run; the last line is
``training: ratio=... frozen_ratio=...``: real input over cached, and the first blocks frozen over all trained.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from odml import architectures, batches, config, inspection, known_datasets, preparation, training
from odml.architectures import SSD
from odml.records import Dataset

BATCH_SIZE = 24
STEPS = 8
FROZEN_BLOCKS = config.load("ssd_mobilenet_v2").training.frozen_blocks


def draw_dataset(folder: Path) -> Dataset:
    """Draw pictures of 640 x 480 and prepare them."""
    images, annotations = known_datasets.draw_shapes(folder, images=2 * BATCH_SIZE, seed=1, size=(640, 480))
    sources = preparation.by_source_id(inspection.inspect(images, annotations).annotations, images)
    split = preparation.split_sources(sources, val_split=0, seed=1)
    return preparation.write_dataset(sources, split, folder / "dataset", seed=1, name="shapes")


def build(dataset: Dataset, *, frozen_blocks: int) -> tuple[SSD, Callable[..., object]]:
    """Make a network and its training step."""
    configuration = config.load("ssd_mobilenet_v2")
    network = architectures.build(configuration, len(dataset.label_map))
    network.freeze(frozen_blocks)
    optimizer = training.make_optimizer(configuration.training, network, steps=None)
    return network, training.make_step(network, optimizer)


def measure(name: str, step: Callable[..., object], data: tf.data.Dataset) -> float:
    """Run a few steps, print their cost, and give the CPU milliseconds an image."""
    iterator = iter(data)
    for _ in range(2):
        step(iterator)
    costs = []
    for _ in range(STEPS):
        cpu, wall = time.process_time(), time.perf_counter()
        step(iterator)
        costs.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = (statistics.median(column) * 1000 / BATCH_SIZE for column in zip(*costs, strict=True))
    print(f"{name}: {cpu:.1f} CPU ms and {wall:.1f} wall ms an image")
    return cpu


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = draw_dataset(Path(folder))
        network, step = build(dataset, frozen_blocks=0)
        data = batches.training_batches(
            dataset,
            batch_size=BATCH_SIZE,
            resize=network.resize,
            augment=network.configuration.training.augmentation,
            seed=1,
        )
        cached = tf.data.Dataset.from_tensors(next(iter(data))).repeat()
        bare = measure("all layers, cached batch", step, cached)
        real = measure("all layers, real input", step, data)
        _, frozen_step = build(dataset, frozen_blocks=FROZEN_BLOCKS)
        frozen = measure(f"{FROZEN_BLOCKS} blocks frozen, cached batch", frozen_step, cached)
    print(f"training: ratio={real / bare:.2f} frozen_ratio={frozen / bare:.2f}")


if __name__ == "__main__":
    main()
