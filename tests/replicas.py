"""A program that trains the tiny network under some strategy: ``python -m tests.replicas FOLDER NAME [MIRRORED]``.

It is one worker if TF_CONFIG says so, and has two replicas on two CPU devices if MIRRORED is given. Of each training it
writes FOLDER/NAME.npz: losses and gradient norms by step, the weights and their averages at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from odml import architectures, config, distribution, records, training
from odml.batches import training_batches
from odml.checkpoints import Checkpoints
from odml.training import Plan, make_optimizer, train
from odml.weight_averages import WeightAverages
from tests import tiny

STEPS = 6
OBJECTS = [
    [("red", (20, 22, 38, 32))],
    [("green", (36, 20, 76, 56)), ("red", (2, 2, 30, 30)), ("red", (40, 4, 70, 24))],
    [],
    [("red", (30, 10, 70, 50))],
    [("green", (2, 2, 78, 58)), ("red", (10, 10, 20, 40))],
]


class Request:
    """A request to stop that has not come yet."""

    reason: str | None = None

    def __bool__(self) -> bool:
        return self.reason is not None


class Diary:
    """What a training reports; the worker that has it can be asked to stop when it comes to a step."""

    def __init__(self, *, stop_at: int | None = None) -> None:
        self.rows: dict[str, dict[int, float]] = {}
        self.stop = Request()
        self._stop_at = stop_at
        self.scores: dict[int, float] = {}
        self.evaluations_without_gain = 0

    def report(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self.rows.setdefault(name, {})[step] = value
        if step == self._stop_at:
            self.stop.reason = "SIGTERM"

    def evaluate(self, step: int) -> dict[str, float]:
        return {}

    def save(self, step: int) -> None: ...

    def add_score(self, step: int, score: float) -> None: ...


class Losing(Diary):
    """Its evaluations gain nothing."""

    def evaluate(self, step: int) -> dict[str, float]:
        self.evaluations_without_gain += 1
        return {}


class Trainings:
    """The trainings that one worker takes part in, all under one strategy."""

    def __init__(self, folder: Path, strategy: tf.distribute.Strategy) -> None:
        self.folder, self.strategy = folder, strategy
        self.dataset = records.open_dataset(folder / "dataset")
        self.found: dict[str, Any] = {}

    def run(
        self, name: str, *, statistics: bool, diary: Diary, steps: int = STEPS, start: int = 0, folder: str = "", **plan
    ) -> None:
        """Train, and keep what there is to be compared under a name.

        Args:
            statistics: whether batch normalisation uses the batch's.
            folder: that the chief saves checkpoints to, and goes on from if there is a start.
        """
        keras.utils.set_random_seed(1)
        recipe = tiny.configuration(batch_size=4, warmup_steps=1, learning_rate=0.05, clip_gradient_norm=1.0)
        data = recipe.model_dump()
        data["batch_norm"]["train"] = statistics
        with self.strategy.scope():
            network = architectures.build(config.validate(data, where="test"), len(tiny.LABEL_MAP))
            optimizer = make_optimizer(recipe.training, network, steps=STEPS)
            averages = WeightAverages(network, decay=0.9)
            saver = diary
            if folder and distribution.is_chief(self.strategy):
                saver = Checkpoints(
                    self.folder / folder, network, tiny.LABEL_MAP, optimizer=optimizer, averages=averages
                )
                if start:
                    assert saver.restore() == start
            state = [*network.variables, *optimizer.variables, *averages.variables.values()]
            distribution.share_values(self.strategy, state)
            load = partial(
                training_batches,
                self.dataset,
                batch_size=4,
                resize=network.resize,
                augment=recipe.training.augmentation,
                seed=3,
                start=start,
            )
            outcome = train(
                network,
                self.strategy.distribute_datasets_from_function(load),
                optimizer=optimizer,
                averages=averages,
                plan=Plan(steps=steps, **{"checkpoint_every": 2, "eval_every": 3} | plan),
                start=start,
                saver=saver,
                evaluate=diary.evaluate,
                report=diary.report,
                stop=diary.stop,
            )
        self.found[f"{name}/outcome"] = f"{outcome.reason} {outcome.step}"
        for metric, values in diary.rows.items():
            self.found[f"{name}/{metric}"] = np.array([values[step] for step in sorted(values)])
        for path, variable in architectures.by_slim_name(network.variables).items():
            locals_ = self.strategy.experimental_local_results(variable.value)
            self.found[f"{name}/weights/{path}"] = np.stack([each.numpy() for each in locals_])
        for path, variable in averages.variables.items():
            locals_ = self.strategy.experimental_local_results(variable)
            self.found[f"{name}/averages/{path}"] = np.stack([each.numpy() for each in locals_])


def main(folder: Path, name: str, *, mirrored: bool) -> None:
    """Train, with and without the batch's statistics, in one go and in two, up to a request and to no more patience."""
    if mirrored:
        (device,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    else:
        strategy = distribution.make_strategy()
    training.REPORT_EVERY = 1
    with distribution.lost_workers(strategy):
        trainings = Trainings(folder, strategy)
        chief = distribution.is_chief(strategy)
        trainings.run("fixed", statistics=False, diary=Diary())
        trainings.run("whole", statistics=True, diary=Diary())
        trainings.run("halves", statistics=True, diary=Diary(), steps=3, folder=f"{name}-train")
        trainings.run("halves", statistics=True, diary=Diary(), start=3, folder=f"{name}-train")
        if distribution.has_several_workers(strategy):
            trainings.run("stopped", statistics=False, diary=Diary(stop_at=None if chief else 2))
            diary = Losing() if chief else Diary()
            trainings.run("patient", statistics=False, diary=diary, patience=2, eval_every=1)
    np.savez(folder / f"{name}.npz", **trainings.found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], mirrored=len(sys.argv) > 3)
