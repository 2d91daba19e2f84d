from __future__ import annotations

from contextlib import contextmanager, nullcontext

import numpy as np
import psutil
import pytest
import tensorflow as tf

from odml.errors import TrainingError
from odml.memory import Memory, Peak, fitting_batch_size, trainer
from tests import tiny

GIGABYTE = 10**9


def find(batch_size: int, room: float, *, replicas: int = 1, base: float = 1.0, image: float = 0.5):
    """Find what fits in so many gigabytes, where a step takes ``base`` and ``image`` for each; and what was tried."""
    tried: list[int] = []

    @contextmanager
    def watch():
        peak = Peak()
        yield peak
        peak.value = int((base + image * tried[-1]) * GIGABYTE)

    memory = Memory(room=room * GIGABYTE, watch=watch)
    return fitting_batch_size(batch_size, tried.append, replicas=replicas, memory=memory), tried


@pytest.mark.parametrize(("room", "found"), [(5.0, 8), (4.9, 4), (3.0, 4), (2.9, 2), (2.0, 2)])
def test_larger_batches_need_as_much_more_as_the_measured_ones_do(room, found):
    assert find(8, room) == (found, [1, 2])


def test_up_to_a_quarter_of_the_batch_is_measured():
    assert find(24, 100) == (24, [1, 3, 6])
    assert find(1, 100) == (1, [1])


def test_what_does_not_fit_is_not_tried():
    assert find(24, 1.6) == (1, [1, 3])
    with pytest.raises(TrainingError) as raised:
        find(24, 1.4)
    assert str(raised.value) == (
        "batch_size: a step of 1 takes 1.5 GB of memory, of which 1.4 can be had; give a YAML file that extends the "
        "model with smaller images"
    )


def test_gpu_that_has_not_enough_is_no_end():
    def train(batch_size):
        if batch_size > 2:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    memory = Memory(room=1.0, watch=lambda: nullcontext(Peak()))
    assert fitting_batch_size(32, train, memory=memory) == 2


def test_every_replica_gets_the_same():
    assert find(12, 3.0, replicas=3) == (12, [1, 2])
    assert find(12, 2.4, replicas=3) == (6, [1, 2])


def test_trained_batch_fits_in_this_machine(tmp_path, caplog):
    examples = [tiny.serialize([("red", (2, 2, 78, 58))]) for _ in range(2)]
    dataset = tiny.write_dataset(tmp_path / "dataset", train=examples)
    train = trainer(tiny.configuration(), dataset, frozen_blocks=0)
    with caplog.at_level("INFO"):
        assert fitting_batch_size(2, train) == 2
    assert any(line.startswith("batch_size: 2, for which ") for line in caplog.messages)


def test_peak_of_a_process_is_seen_though_it_is_over_at_the_end():
    before = psutil.Process().memory_info().rss
    with Memory.of_device().watch() as peak:
        for _ in range(20):
            np.ones(30_000_000).sum()
    assert peak.value - before > 200_000_000
