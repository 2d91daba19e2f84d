"""A program that trains under some strategy: ``python -m tests.replicas FOLDER NAME [MIRRORED]``.

It is one worker if TF_CONFIG says so, and has two replicas on two CPU devices if MIRRORED is given. What is to be
compared, it writes to FOLDER/NAME.npz: of each training how it ended, losses and gradient norms by step, and the
weights and averages that each replica has at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from odml import architectures, config, distribution, losses, records, training
from odml.backbones.convolutions import BatchNorm, ConvBN
from odml.batches import training_batches
from odml.checkpoints import Checkpoints
from odml.training import Plan, make_optimizer, train
from odml.weight_averages import WeightAverages
from tests import tiny

STEPS = 6
BATCH_SIZE = 4
OBJECTS = [
    [("red", (20, 22, 38, 32))],
    [("green", (36, 20, 76, 56)), ("red", (2, 2, 30, 30)), ("red", (40, 4, 70, 24))],
    [],
    [("red", (30, 10, 70, 50))],
    [("green", (2, 2, 78, 58)), ("red", (10, 10, 20, 40))],
]
RECIPE = {"batch_size": BATCH_SIZE, "warmup_steps": 1, "learning_rate": 0.05, "clip_gradient_norm": 1.0}


class Counter(keras.Model):
    """Learns how many objects a picture has, by a convolution with normalisation; its loss is a mean over objects."""

    def __init__(self, *, statistics: bool = True, **recipe: str) -> None:
        super().__init__(name="counter")
        self.configuration = tiny.configuration(**RECIPE, **recipe)
        batch_norm = BatchNorm(momentum=0.9, epsilon=1e-3, train=statistics, name="BatchNorm")
        self.conv = ConvBN(8, 3, stride=4, batch_norm=batch_norm, name="Conv")
        self(tf.zeros([1, 64, 64, 3]))

    def resize(self, image: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.image.resize(image, [64, 64]), [64, 64, 3])

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        return tf.reduce_mean(self.conv(images / 255.0, training=training), axis=[1, 2, 3])

    def compute_losses(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        counts = tf.reduce_sum(tf.cast(batch["classes"] > 0, tf.float32), axis=1)
        errors = tf.square(self(batch["images"], training=True) - counts)
        return {"count": tf.reduce_sum(errors) / losses.share_of_count(tf.reduce_sum(counts))}

    def detect(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"detection_scores": self(images)}


def tiny_ssd() -> keras.Model:
    """Build the tiny network; its normalisation uses the moving statistics, so that it is the same for any replicas."""
    data = tiny.configuration(**RECIPE).model_dump()
    data["batch_norm"]["train"] = False
    return architectures.build(config.validate(data, where="test"), len(tiny.LABEL_MAP))


class Diary:
    """What one worker keeps of a training, and asks of it."""

    def __init__(self, *, stop_at: int | None = None, loses: bool = False) -> None:
        self.reason: str | None = None
        self.rows: dict[str, list[float]] = {}
        self.scores: dict[int, float] = {}
        self.evaluations_without_gain = 0
        self._stop_at, self._loses = stop_at, loses

    def __bool__(self) -> bool:
        """Say whether there is a request to stop."""
        return self.reason is not None

    def report(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self.rows.setdefault(name, []).append(value)
        if step == self._stop_at:
            self.reason = "SIGTERM"

    def save(self, step: int) -> None: ...

    def add_score(self, step: int, score: float) -> None: ...

    def note_evaluation(self) -> None:
        self.evaluations_without_gain += self._loses


class Trainings:
    """The trainings that this process takes part in, under one strategy."""

    def __init__(self, folder: Path, strategy: tf.distribute.Strategy) -> None:
        self.found: dict[str, np.ndarray] = {}
        self._folder, self._strategy = folder, strategy
        self._dataset = records.open_dataset(folder / "dataset")

    def run(
        self,
        name: str,
        build: Callable[[], keras.Model],
        diary: Diary,
        *,
        steps: int = STEPS,
        start: int = 0,
        folder: str = "",
        **plan: int,
    ) -> None:
        """Train, and keep what there is to be compared under a name.

        Args:
            folder: that the chief saves checkpoints to, and goes on from if there is a start.
        """
        # Only the chief's fresh weights and restored ones may count.
        keras.utils.set_random_seed(1 if distribution.is_chief(self._strategy) else 2)
        with self._strategy.scope():
            network = build()
            recipe = network.configuration.training
            optimizer = make_optimizer(recipe, network, steps=STEPS)
            averages = WeightAverages(network, decay=0.9)
            saver = diary
            if folder and distribution.is_chief(self._strategy):
                saver = Checkpoints(
                    self._folder / folder, network, tiny.LABEL_MAP, optimizer=optimizer, averages=averages
                )
                if start:
                    assert saver.restore() == start
            state = [*network.variables, *optimizer.variables, *averages.variables.values()]
            distribution.share_values(self._strategy, state)
            # It has a part in the order of the examples.
            keras.utils.set_random_seed(1)
            load = partial(
                training_batches,
                self._dataset,
                batch_size=BATCH_SIZE,
                resize=network.resize,
                augment=recipe.augmentation,
                seed=3,
                start=start,
            )
            detect = tf.function(network.detect, autograph=False)

            def evaluate(step: int) -> dict[str, float]:
                diary.note_evaluation()
                images = tf.stack([network.resize(tf.constant(tiny.draw(objects))) for objects in OBJECTS[:2]])
                return {"eval/scores": float(tf.reduce_sum(detect(images)["detection_scores"]))}

            outcome = train(
                network,
                self._strategy.distribute_datasets_from_function(load),
                optimizer=optimizer,
                averages=averages,
                plan=Plan(steps=steps, **{"checkpoint_every": 2, "eval_every": 3} | plan),
                start=start,
                saver=saver,
                evaluate=evaluate,
                report=diary.report,
                stop=diary,
            )
        self.found[f"{name}/outcome"] = np.array(f"{outcome.reason} {outcome.step}")
        for metric in ("train/loss/total", "train/gradient_norm", "eval/scores"):
            self.found[f"{name}/{metric}"] = np.array(diary.rows[metric])
        for path, variable in architectures.by_slim_name(network.variables).items():
            self.found[f"{name}/weights/{path}"] = self._of_replicas(variable.value)
        for path, variable in averages.variables.items():
            self.found[f"{name}/averages/{path}"] = self._of_replicas(variable)

    def _of_replicas(self, variable: tf.Variable) -> np.ndarray:
        return np.stack([each.numpy() for each in self._strategy.experimental_local_results(variable)])

    def average(self) -> None:
        """Average a variable to which the first replica adds 1, the second 4."""
        with self._strategy.scope():
            variable = tf.Variable([0.0, 10.0])

        @tf.function(autograph=False)
        def differ() -> None:
            def add() -> None:
                number = tf.distribute.get_replica_context().replica_id_in_sync_group
                variable.assign_add(tf.fill([2], 1.0 + 3.0 * tf.cast(number, tf.float32)))

            self._strategy.run(add)

        differ()
        distribution.averaging(self._strategy, [variable])()
        self.found["mean"] = self._of_replicas(variable)

    def compute_losses(self, name: str, model: str, **changes: object) -> None:
        """Compute the losses of a batch by a fresh network, half of it on each of two replicas if there are two."""
        keras.utils.set_random_seed(1)
        data = config.load(model).model_dump() | changes
        with self._strategy.scope():
            network = architectures.build(config.validate(data, where="test"), len(tiny.LABEL_MAP))
            load = partial(
                training_batches,
                self._dataset,
                batch_size=BATCH_SIZE,
                resize=network.resize,
                augment=config.Augmentation(horizontal_flip=False, random_crop=False, random_color=False, mosaic=0.0),
                seed=3,
            )
            batch = next(iter(self._strategy.distribute_datasets_from_function(load)))
            run = tf.function(lambda batch: self._strategy.run(network.compute_losses, args=(batch,)), autograph=False)
            for part, values in run(batch).items():
                of_replicas = self._strategy.experimental_local_results(values)
                self.found[f"{name}/{part}"] = np.mean([float(value) for value in of_replicas])


def main(folder: Path, name: str, *, mirrored: bool) -> None:
    """Do all that can be compared among one process, two replicas in one, and two workers."""
    if mirrored:
        (device,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    else:
        strategy = distribution.make_strategy()
    training.REPORT_EVERY = 1
    trainings = Trainings(folder, strategy)
    trainings.average()
    trainings.run("ssd", tiny_ssd, Diary(), steps=3)
    for optimizer in ("adam", "rmsprop"):
        trainings.run(optimizer, partial(Counter, optimizer=optimizer, statistics=False), Diary())
    # The network itself computes in float32: what is tried is the scaling of its loss.
    trainings.run("scaled", partial(Counter, precision="mixed_float16", statistics=False), Diary())
    trainings.run("whole", Counter, Diary())
    trainings.run("halves", Counter, Diary(), steps=3, folder=f"{name}-train")
    trainings.run("halves", Counter, Diary(), start=3, folder=f"{name}-train")
    if distribution.has_several_workers(strategy):
        chief = distribution.is_chief(strategy)
        trainings.run("stopped", Counter, Diary(stop_at=None if chief else 2))
        trainings.run("patient", Counter, Diary(loses=chief), patience=2, eval_every=1)
    else:
        trainings.compute_losses("faster_rcnn", "faster_rcnn_resnet50", min_side=64, max_side=96)
    np.savez(folder / f"{name}.npz", **trainings.found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], mirrored=len(sys.argv) > 3)
