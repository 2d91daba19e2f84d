"""The training loop: steps, checkpoints, evaluations, until the last step or a request to stop. It knows no MLflow.

It works under the strategy in whose scope it is called, be that for one device, several or several hosts (workers): all
workers run the same loop, on parts of the same batches.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import keras
import psutil
import tensorflow as tf

from odml import distribution
from odml.architectures import Architecture, by_slim_name
from odml.config import Training
from odml.errors import CheckpointError, ConfigurationError, TrainingError, first_line
from odml.progress import progress
from odml.weight_averages import WeightAverages

logger = logging.getLogger(__name__)

REPORT_EVERY = 10  # steps
SCORE = "eval/coco/mAP"  # of what ``evaluate`` gives; by it the best checkpoint is known

Report = Callable[[Mapping[str, float], int], None]


class Stop(Protocol):
    """A request to stop, as ``signals.StopSignals`` gives it: true once there is one."""

    reason: str | None

    def __bool__(self) -> bool: ...


class Saver(Protocol):
    """Keeps a training's checkpoints and scores, as ``checkpoints.Checkpoints`` does."""

    @property
    def scores(self) -> Mapping[int, float]:
        """The score of each evaluated step."""

    @property
    def evaluations_without_gain(self) -> int:
        """How many evaluations there were since the best one."""

    def save(self, step: int) -> None:
        """Keep the state of a step."""

    def add_score(self, step: int, score: float) -> None:
        """Note the score of a step."""


@dataclass(frozen=True)
class Plan:
    """When things happen, in steps. ``steps`` None trains until it is stopped.

    ``patience`` is the number of evaluations without a better score that ends it, None: no number does.

    Raises ConfigurationError for a number below 1.
    """

    steps: int | None
    checkpoint_every: int
    eval_every: int
    patience: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value < 1:
                what = "evaluations" if name == "patience" else "steps"
                raise ConfigurationError(f"{name}: {value} is not a number of {what}; give 1 or more")


@dataclass(frozen=True)
class Outcome:
    """The last step that was trained, and why it was the last.

    ``reason`` is "finished", "patience", the name of the signal, or "another worker": one of them was asked to stop.
    """

    step: int
    reason: str


def train(
    model: Architecture,
    batches: Iterable[Mapping[str, tf.Tensor]],
    *,
    optimizer: keras.optimizers.Optimizer,
    averages: WeightAverages | None = None,
    plan: Plan,
    start: int = 0,
    saver: Saver,
    evaluate: Callable[[int], Mapping[str, float]],
    report: Report,
    stop: Stop,
    batch_size: int = 1,
    name_sources: Callable[[int], Sequence[str]] = lambda step: (),
) -> Outcome:
    """Train a network.

    Whatever ends it, the last step is saved and evaluated. A checkpoint that cannot be written is warned about, and
    training goes on; only the last one must be written. A batch that cannot be read ends it too, with TensorFlow's
    error: then the last step is saved, unless there are other workers, and not evaluated.

    Where the optimizer scales the loss, it skips a step whose gradients overflow, and lowers the scale; such a step
    counts as trained, and its gradient norm in no mean.

    All workers end with the same step: when any of them has a request to stop, and when any has the patience exhausted.
    While one saves or evaluates, the others wait. Before that the moving statistics of normalisation, of which each
    replica has its own, become their mean on all of them.

    Args:
        batches: endless, as ``batches.training_batches`` makes them, distributed where there are several replicas; the
            first is that of the step after ``start``.
        optimizer: as ``make_optimizer`` makes it for the model.
        averages: updated after every step; evaluation measures them.
        start: the step that model, optimizer and averages are at.
        saver: keeps the checkpoints, one for each evaluation at least, and the scores.
        evaluate: called with a step after its checkpoint is written, gives metrics to report.
        report: takes metrics and their step: ``train/loss/total`` and the parts, ``train/learning_rate``,
            ``train/gradient_norm``, ``train/loss_scale`` where the loss is scaled, ``train/steps_per_second``,
            ``train/images_per_second`` (means since the last report, without the time of saving and evaluating), and
            what ``evaluate`` gives.
        stop: asked after every step.
        batch_size: of the batches, for the advice if memory does not suffice for one.
        name_sources: gives the names of the pictures of a step's batch, for the advice if they cannot be learned.
    Raises:
        TrainingError: the loss or its gradient is no longer a finite number, or memory does not suffice for a step;
            nothing of that step is saved.
        ConfigurationError: the plan has no step after ``start``.
        CheckpointError: the last checkpoint cannot be written.
    """
    if plan.steps is not None and plan.steps <= start:
        raise ConfigurationError(f"train_steps: {start} steps are trained already, of {plan.steps}; give more")
    strategy = tf.distribute.get_strategy()
    anywhere = distribution.voting(strategy)
    average_statistics = distribution.averaging(strategy, _own_to_replicas(model, averages))
    iterator = iter(batches)
    train_step = make_step(model, optimizer, averages)
    window = _Window()
    tolerated = _Tolerance()

    def measure(step: int) -> None:
        with averages.in_place() if averages else nullcontext():
            metrics = evaluate(step)
        report(metrics, step)
        if SCORE in metrics:
            with tolerated():
                saver.add_score(step, metrics[SCORE])

    if start and start % plan.eval_every == 0 and start not in saver.scores:
        measure(start)
    saved = start
    steps = itertools.count(start + 1) if plan.steps is None else range(start + 1, plan.steps + 1)
    for step in progress(steps, total=plan.steps, done=start, description="train", note=lambda: window.note):
        started = time.monotonic()
        try:
            values = _run(train_step, iterator, step, batch_size, name_sources)
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
            # The other workers would be waited for in vain.
            if step - 1 > saved and not distribution.has_several_workers(strategy):
                average_statistics()
                with tolerated():
                    saver.save(step - 1)
            raise
        window.add(values, seconds=time.monotonic() - started)
        last = step == plan.steps or anywhere(bool(stop))
        if step % REPORT_EVERY == 0 or last:
            report(window.close(learning_rate=float(optimizer.learning_rate)), step)
        evaluates = last or step % plan.eval_every == 0
        saves = evaluates or step % plan.checkpoint_every == 0
        if saves:
            average_statistics()
            with tolerated(unless=last):
                saver.save(step)
                saved = step
        if evaluates:
            measure(step)
            if plan.patience and anywhere(saver.evaluations_without_gain >= plan.patience):
                return Outcome(step=step, reason="patience")
            # A request that comes while a step is saved and evaluated finds all done.
            if last or anywhere(bool(stop)):
                break
    return Outcome(step=step, reason="finished" if step == plan.steps else stop.reason or "another worker")


def _own_to_replicas(model: Architecture, averages: WeightAverages | None) -> list[distribution.Variable]:
    """Give the variables that the replicas change on their own: moving statistics, and the averages of these."""
    statistics = by_slim_name(model.non_trainable_variables)
    return [*statistics.values(), *(averages.variables[name] for name in statistics if averages)]


class _Tolerance:
    """Lets what cannot be written be, unless that is the end: a full disk is no reason to lose what is learned.

    It warns of the first failure in a row.
    """

    def __init__(self) -> None:
        self._warned = False

    @contextmanager
    def __call__(self, *, unless: bool = False) -> Iterator[None]:
        try:
            yield
            self._warned = False
        except CheckpointError as error:
            if unless:
                raise
            if not self._warned:
                logger.warning("%s; training goes on and tries again with the next one", error)
            self._warned = True


def _run(
    train_step: Callable[..., Mapping[str, tf.Tensor]],
    iterator: tf.data.Iterator,
    step: int,
    batch_size: int,
    name_sources: Callable[[int], Sequence[str]],
) -> dict[str, float]:
    """Train one step, and give its finite values; raise TrainingError for what a user can do something about."""
    try:
        numbers = {name: float(value) for name, value in train_step(iterator).items()}
    # Python's own error comes where a limit is set to the process' address space.
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise TrainingError(
            f"step {step}: memory does not suffice ({first_line(error)}); give {what_takes_less_memory(batch_size)}"
        ) from None
    is_skipped = numbers.get("loss_scale", 1.0) > 1.0 and not math.isfinite(numbers["gradient_norm"])
    if not math.isfinite(numbers["loss/total"] + (0.0 if is_skipped else numbers["gradient_norm"])):
        parts = ", ".join(f"{name} {value:g}" for name, value in sorted(numbers.items()) if name != "images")
        pictures = ", ".join(name_sources(step))
        raise TrainingError(
            f"step {step}: the loss or its gradient is not a finite number ({parts}); lower learning_rate, or look for "
            f"odd boxes{f' in {pictures}' if pictures else ''}"
        )
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def what_takes_less_memory(batch_size: int) -> str:
    """Name what to give a training instead, of which a step takes less memory."""
    smaller = f"batch_size={batch_size // 2} or batch_size=auto, or " if batch_size > 1 else ""
    return f"{smaller}smaller images by a YAML file that extends the model"


def make_optimizer(recipe: Training, model: Architecture, *, steps: int | None) -> keras.optimizers.Optimizer:
    """Make the optimizer of a recipe, built for the model; its rate follows ``Schedule``.

    For mixed_float16, whose small gradients would vanish, it scales the loss by as much as the gradients bear; a step
    whose gradients overflow changes no weight (Micikevicius et al. 2018, 3.2).

    Call it in the scope of the strategy. What it is to be given by each replica is the gradient of the whole batch,
    divided by the number of replicas: Keras clips what each gives, and adds up what is left.
    """
    options = {
        "learning_rate": Schedule(recipe, steps=steps),
        "global_clipnorm": recipe.clip_gradient_norm / tf.distribute.get_strategy().num_replicas_in_sync,
        "name": recipe.optimizer,
    }
    if recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=recipe.momentum, **options)
    elif recipe.optimizer == "adam":
        optimizer = keras.optimizers.Adam(beta_1=recipe.momentum, **options)
    else:
        optimizer = keras.optimizers.RMSprop(
            rho=recipe.rms_decay, momentum=recipe.momentum, epsilon=recipe.rms_epsilon, **options
        )
    if recipe.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, name=recipe.optimizer)
    optimizer.build(model.trainable_variables)
    return optimizer


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of each step, counted from 0.

    Over the warm-up, which is at most a tenth of the steps, the rate rises evenly to the recipe's; no step has a rate
    of zero. Meanwhile and afterwards it is, by ``recipe.schedule``,

    cosine    falling to zero at ``steps`` along half a cosine that begins after the warm-up (Loshchilov and Hutter
              2017, equation 5); constant where the number of steps is not known
    constant  the recipe's
    steps     multiplied by ``decay_factor`` from each of ``decay_steps`` on

    Args:
        steps: how many there will be, None if that is not known.
    """

    def __init__(self, recipe: Training, *, steps: int | None) -> None:
        self._recipe = recipe
        self._steps = steps
        self._warmup_steps = recipe.warmup_steps if steps is None else min(recipe.warmup_steps, steps // 10)

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """Give the rate of a step, a scalar."""
        step = tf.cast(step, tf.float32)
        warmed_up = tf.minimum(1.0, (step + 1.0) / (self._warmup_steps + 1.0))
        return self._recipe.learning_rate * warmed_up * self._decay(step)

    def _decay(self, step: tf.Tensor) -> tf.Tensor | float:
        if self._recipe.schedule == "cosine" and self._steps is not None:
            done = (step - self._warmup_steps) / (self._steps - self._warmup_steps)
            return 0.5 * (1.0 + tf.cos(math.pi * tf.clip_by_value(done, 0.0, 1.0)))
        if self._recipe.schedule == "steps":
            passed = [tf.cast(step >= boundary, tf.float32) for boundary in self._recipe.decay_steps]
            return self._recipe.decay_factor ** tf.add_n([*passed, 0.0])
        return 1.0


def make_step(
    model: Architecture, optimizer: keras.optimizers.Optimizer, averages: WeightAverages | None = None
) -> Callable[..., dict[str, tf.Tensor]]:
    """Make the function that takes an iterator of batches, trains one step, and gives its losses as scalars.

    They are ``loss/total`` and its parts, ``gradient_norm`` before clipping, and ``images``, the size of the batch, all
    of the whole batch that the replicas have parts of; and, if the optimizer scales the loss, ``loss_scale``, by which
    none of them is scaled. The averages are updated after the step.
    """
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync

    def replica_step(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        scale = optimizer.scale_loss(1.0)
        with tf.GradientTape() as tape:
            losses = {name: loss / replicas for name, loss in model.compute_losses(batch).items()}
            total = tf.add_n(list(losses.values()))
            scaled = total * scale
        gradients = tape.gradient(scaled, [v.value for v in model.trainable_variables])
        images = tf.cast(tf.shape(batch["images"])[0], tf.float32)
        numbers = tf.stack([*losses.values(), total, images])
        # One collective for all.
        *gradients, numbers = tf.distribute.get_replica_context().all_reduce("SUM", [*gradients, numbers])
        if averages:
            step = tf.identity(optimizer.iterations.value)
        # Each clipped by the batch's norm, not by its replica's own, they are sent once more to be added up again.
        shares = [gradient / replicas for gradient in gradients]
        # Without this TensorFlow may compute a loss, where no gradient waits for it, of weights changed already.
        with tf.control_dependencies([numbers]):
            optimizer.apply(shares, model.trainable_variables)
        if averages:
            averages.update(step)
        names = [*(f"loss/{name}" for name in losses), "loss/total", "images"]
        values = dict(zip(names, tf.unstack(numbers), strict=True))
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            values["loss_scale"] = scale
        return values | {"gradient_norm": tf.linalg.global_norm(gradients) / scale}

    @tf.function(autograph=False)
    def step(iterator: Iterator[Mapping[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
        values = strategy.run(replica_step, args=(next(iterator),))
        return {name: strategy.experimental_local_results(value)[0] for name, value in values.items()}

    return step


class _Window:
    """Means since the last report."""

    def __init__(self) -> None:
        self.note = ""
        self._rows: list[dict[str, float]] = []
        self._seconds = 0.0

    def add(self, values: dict[str, float], *, seconds: float) -> None:
        self._rows.append(values)
        self._seconds += seconds

    def close(self, *, learning_rate: float) -> dict[str, float]:
        seconds = max(self._seconds, 1e-9)
        images = sum(row.pop("images") for row in self._rows)
        columns = {name: [row[name] for row in self._rows if name in row] for row in self._rows for name in row}
        means = {f"train/{name}": sum(column) / len(column) for name, column in columns.items()}
        speeds = {
            "train/learning_rate": learning_rate,
            "train/steps_per_second": len(self._rows) / seconds,
            "train/images_per_second": images / seconds,
        }
        parts = {name.rpartition("/")[2]: mean for name, mean in means.items() if name.startswith("train/loss/")}
        losses = ", ".join(f"{name} {value:.3f}" for name, value in parts.items() if name != "total")
        gigabytes = psutil.Process().memory_info().rss / 1e9
        self.note = (
            f"loss {parts['total']:.3f} ({losses}), rate {learning_rate:.2g}, {images / seconds:.1f} images/s, "
            f"{gigabytes:.1f} GB"
        )
        self._rows, self._seconds = [], 0.0
        return means | speeds
