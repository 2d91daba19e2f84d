"""The largest batch of which a training step fits in memory, found by training a few small ones."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import psutil
import tensorflow as tf

from odml import architectures, batches, gpus, training
from odml.config import Configuration
from odml.errors import TrainingError
from odml.host_memory import free_memory
from odml.records import Dataset
from odml.weight_averages import WeightAverages

_USABLE = 0.8  # of the free memory; prefetched batches and evaluations want some too
_MEASURED = 0.25  # of the recipe's batch; what larger ones need is extrapolated, as it grows evenly
_STEPS = 2  # measured ones of each size; the first sets up more than it needs
_SECONDS_BETWEEN_SAMPLES = 0.005

_log = logging.getLogger(__name__)


@dataclass
class Peak:
    """The most bytes that were in use while something was watched."""

    value: int = 0


@dataclass(frozen=True)
class Memory:
    """Where a step's tensors are: ``room`` bytes in all, and ``watch``, a context that finds their peak."""

    room: float
    watch: Callable[[], AbstractContextManager[Peak]]

    @classmethod
    def of_device(cls) -> Memory:
        """Give the first GPU's that TensorFlow uses, or the process' where it uses none."""
        if tf.config.list_logical_devices("GPU"):
            used = tf.config.experimental.get_memory_info("GPU:0")["current"]
            return cls(room=used + _USABLE * gpus.free_memory(), watch=_watch_gpu)
        return cls(room=psutil.Process().memory_info().rss + _USABLE * free_memory(), watch=_watch_process)


def fitting_batch_size(
    batch_size: int, train: Callable[[int], None], *, replicas: int = 1, memory: Memory | None = None
) -> int:
    """Find the largest of a batch size, its half, quarter and so on of which a training step fits in memory.

    The smallest ones are tried; from these follows what larger ones need.

    Args:
        batch_size: the first choice.
        train: trains on one device with batches of the size that it is given, as ``trainer`` makes it.
        replicas: how many there will be; each has an equal part of a batch.
        memory: of one replica, by default that of the device in use.
    Raises:
        TrainingError: not even the smallest one fits.
    """
    sizes = _halves(batch_size, replicas)
    memory = memory or Memory.of_device()
    needs: list[tuple[int, int]] = []
    for size in sizes:
        if _predict(needs, size) > memory.room:
            break
        if len(needs) >= 2 and size > _MEASURED * sizes[-1]:
            needs.append((size, int(_predict(needs, size))))
        else:
            needs.append((size, _measure(train, size // replicas, memory)))
    fitting = [(size, need) for size, need in needs if need <= memory.room]
    if not fitting:
        raise TrainingError(
            f"batch_size: a step of {sizes[0]} takes {needs[0][1] / 1e9:.1f} GB of memory, of which "
            f"{memory.room / 1e9:.1f} can be had; give a YAML file that extends the model with smaller images"
        )
    size, need = fitting[-1]
    _log.info("batch_size: %d, for which %.1f of %.1f GB are needed", size, need / 1e9, memory.room / 1e9)
    return size


def _halves(batch_size: int, replicas: int) -> list[int]:
    """Give the batch size, its half, and so on, as far as each replica gets the same, at least one; rising."""
    sizes = [batch_size]
    while sizes[-1] // 2 >= replicas:
        sizes.append(sizes[-1] // 2 // replicas * replicas)
    return sizes[::-1]


def _predict(needs: list[tuple[int, int]], size: int) -> float:
    """Extend the line through the last two needs; of fewer nothing is known."""
    if len(needs) < 2:
        return needs[-1][1] if needs else 0.0
    (smaller, less), (larger, more) = needs[-2:]
    return more + (size - larger) * max(more - less, 0) / (larger - smaller)


def trainer(configuration: Configuration, dataset: Dataset, *, frozen_blocks: int) -> Callable[[int], None]:
    """Make a network, to be thrown away, and what trains it a few steps with batches of a size.

    Call it outside of any strategy's scope: one replica is to be measured.
    """
    recipe = configuration.training
    network = architectures.build(configuration, len(dataset.label_map), precision=recipe.precision)
    network.freeze(frozen_blocks)
    averages = WeightAverages(network, recipe.average_decay) if recipe.average_decay else None
    step = training.make_step(network, training.make_optimizer(recipe, network, steps=None), averages)

    def train(batch_size: int) -> None:
        iterator = iter(
            batches.training_batches(
                dataset, batch_size=batch_size, resize=network.resize, augment=recipe.augmentation, seed=1
            )
        )
        for _ in range(_STEPS):
            step(iterator)

    return train


def _measure(train: Callable[[int], None], batch_size: int, memory: Memory) -> int:
    """Give the most bytes in use; where a GPU has not enough, more than there are."""
    try:
        with memory.watch() as peak:
            train(batch_size)
    except tf.errors.ResourceExhaustedError:
        return int(memory.room) + 1
    return peak.value


@contextmanager
def _watch_gpu() -> Iterator[Peak]:
    tf.config.experimental.reset_memory_stats("GPU:0")
    peak = Peak()
    yield peak
    peak.value = tf.config.experimental.get_memory_info("GPU:0")["peak"]


@contextmanager
def _watch_process() -> Iterator[Peak]:
    """Sample the process' resident memory from a thread of its own: its own high-water mark cannot be reset."""
    process, peak, over = psutil.Process(), Peak(), threading.Event()

    def sample() -> None:
        while not over.wait(_SECONDS_BETWEEN_SAMPLES):
            peak.value = max(peak.value, process.memory_info().rss)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield peak
    finally:
        over.set()
        sampler.join()
