"""What train and transfer_learn have in common: all but the weights that they start from.

Of several workers (see ``odml.distribution``) one, the chief, does all of that; it tells the others what they need to
train along, and they leave nothing behind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click
import keras
import tensorflow as tf

from entrypoints.logbook import Logbook
from entrypoints.options import AUTO, DEFAULT_MODEL, DEFAULT_WEIGHTS, configuration_of, seed_of
from entrypoints.training_job import Job, Settings
from odml import (
    architectures,
    batches,
    checkpoints,
    distribution,
    host_memory,
    initial_weights,
    memory,
    records,
    suitability,
    tracking,
    training,
)
from odml.architectures import Architecture
from odml.config import Configuration
from odml.errors import ConfigurationError
from odml.records import Dataset
from odml.signals import StopSignals
from odml.structures import LabelMap
from odml.tflite import require_convertible
from odml.tracking import ArtifactFolder, Run
from odml.weight_averages import WeightAverages

logger = logging.getLogger(__name__)


def train_network(
    operation: str,
    *,
    weights: str,
    model: str,
    dataset: str,
    train_steps: int,
    batch_size: int | str,
    learning_rate: float,
    eval_every: int,
    checkpoint_every: int,
    eval_examples: int,
    patience: int,
    quantize: bool,
    resume: str,
    seed: int,
) -> None:
    """Train a network in a run of its own, or go on in the run that ``resume`` names.

    ``weights`` "none" starts from random ones.
    """
    changes = {
        "train_steps": train_steps,
        "eval_every": eval_every,
        "eval_examples": eval_examples,
        "patience": patience,
    }
    if resume:
        _refuse_changes(
            model=model if model != DEFAULT_MODEL else "",
            weights=weights if weights not in ("none", DEFAULT_WEIGHTS) else "",
            dataset=dataset,
            batch_size=batch_size,
            learning_rate=learning_rate,
            checkpoint_every=checkpoint_every,
            seed=seed,
            quantize=quantize or "",
        )
        strategy = distribution.make_strategy()
        prepare = partial(_resumed, changes=changes)
    else:
        configuration = configuration_of(
            model=model, batch_size=batch_size, learning_rate=learning_rate, checkpoint_every=checkpoint_every
        )
        if not weights:
            raise ConfigurationError(
                "weights: is empty; pass coco, imagenet, none, a path, a run's id or a models:/ URI"
            )
        settings = _settings(configuration, changes, seed=seed, is_frozen=weights != "none")
        settings.plan(configuration.training)
        if quantize:
            require_convertible(configuration)
        strategy = distribution.make_strategy()
        distribution.require_even_shares(strategy, configuration.training.batch_size)
        prepare = partial(
            _started,
            configuration=configuration,
            settings=settings,
            dataset=dataset,
            quantize=quantize,
            fit_replicas=strategy.num_replicas_in_sync if batch_size == AUTO else 0,
        )
    if distribution.is_chief(strategy):
        _lead(strategy, operation, prepare, weights=weights, model=None if resume else model, resume=resume)
    else:
        _assist(strategy, dataset)


def _lead(
    strategy: tf.distribute.Strategy,
    operation: str,
    prepare: Callable[[Run, Path], tuple[Job, Dataset]],
    *,
    weights: str,
    model: str | None,
    resume: str,
) -> None:
    """Train, with the other workers if there are any, and keep all that comes of it in a run."""
    with (
        tracking.start_run(operation, model=model, resume=resume, system_metrics=True) as run,
        distribution.lost_workers(strategy),
        StopSignals() as stop,
    ):
        folders = run.artifact_folder("train"), run.artifact_folder("tensorboard")
        job, data = prepare(run, folders[0].path)
        distribution.share_text(strategy, job.to_json())
        with batches.naming_damage(data):
            network = _build(strategy, job, data.label_map)
            if not job.start:
                _examine(network, data, run)
                # Outside of the strategy's scope: reading a file can take a network of its own.
                if weights != "none":
                    _start_from(weights, network, run, data.label_map)
            with strategy.scope():
                state = _State.of(network, job)
                saver = state.saver(folders, job, data.label_map)
                if job.start:
                    saver.restore()
                    logger.info("going on after step %d", job.start)
                logbook = Logbook(run, network, data, eval_examples=job.settings.eval_examples, events=folders[1].path)
                if not job.start:
                    logbook.begin()
                with _guarding_memory(run, job.configuration.training.batch_size):
                    outcome = _train(state, job, data, saver=saver, logbook=logbook, stop=stop)
        run.tag("odml.stop_reason", f"{outcome.reason} step={outcome.step}")
    click.echo(f"{outcome.reason} after step {outcome.step}: {run.artifact_uri}/train (run {run.id})")


def _assist(strategy: tf.distribute.Strategy, dataset: str) -> None:
    """Train along with the chief; a run that ``mlflow run`` has made for this process stays empty."""
    with tracking.given_run("worker") as run, distribution.lost_workers(strategy), StopSignals() as stop:
        job = Job.from_json(distribution.share_text(strategy, ""))
        with tracking.input_folder(
            "dataset", dataset or job.dataset, operations=("prepare",), artifact="dataset"
        ) as folder:
            data = records.open_dataset(folder)
            if data.digest != job.digest:
                raise ConfigurationError(
                    f"{data.folder}: is not the chief's data set (digest {data.digest}, the chief's {job.digest}); "
                    "give all workers the same"
                )
            network = _build(strategy, job, data.label_map)
            with strategy.scope():
                nothing = _Nothing()
                with _guarding_memory(run, job.configuration.training.batch_size):
                    outcome = _train(_State.of(network, job), job, data, saver=nothing, logbook=nothing, stop=stop)
    click.echo(f"{outcome.reason} after step {outcome.step}: the chief has the run")


def _refuse_changes(**fixed: object) -> None:
    """Raise if a parameter is given that a training cannot change on its way."""
    for name, value in fixed.items():
        if value not in ("", -1):
            raise ConfigurationError(
                f"{name}: a resumed training keeps its own; leave it out, or start anew with weights=RUN_ID"
            )


def _settings(configuration: Configuration, changes: Mapping[str, int], *, seed: int, is_frozen: bool) -> Settings:
    recipe = configuration.training
    return Settings(
        seed=seed_of(seed),
        train_steps=None,
        eval_every=recipe.checkpoint_every,
        eval_examples=-1,
        patience=recipe.patience or None,
        frozen_blocks=recipe.frozen_blocks if is_frozen else 0,
    ).changed(**changes)


def _started(
    run: Run,
    folder: Path,
    *,
    configuration: Configuration,
    settings: Settings,
    dataset: str,
    quantize: bool,
    fit_replicas: int,
) -> tuple[Job, Dataset]:
    """Begin a new training; a batch is made to fit in the memory of so many replicas, if they are any."""
    data = _open_dataset(run, dataset)
    if fit_replicas:
        own = configuration.training.batch_size
        with batches.naming_damage(data), _guarding_memory(run, 1):
            train = memory.trainer(configuration, data, frozen_blocks=settings.frozen_blocks)
            fitting = memory.fitting_batch_size(own, train, replicas=fit_replicas)
        configuration = configuration.with_training(batch_size=fitting)
    run.log_parameters(configuration.model_dump(mode="json") | {"seed": settings.seed})
    run.log_text(configuration.to_yaml(), "config.yml")
    run.log_dataset(data.name or data.folder.name, digest=data.digest, source=data.folder, context="training")
    run.tag("odml.data.digest", data.digest)
    if quantize:
        run.tag("odml.quantize", "true")
    return Job(configuration, settings, _source(run, data), data.digest), data


def _resumed(run: Run, folder: Path, *, changes: Mapping[str, int]) -> tuple[Job, Dataset]:
    """Go on with the training of the run."""
    settings = Settings(**checkpoints.read_settings(folder)).changed(**changes)
    data = _open_dataset(run, run.tags.get("odml.input.dataset", ""))
    digest = run.tags.get("odml.data.digest", "")
    if data.digest != digest:
        raise ConfigurationError(
            f"{data.folder}: its content has changed since the training began (digest {data.digest}, then {digest}); "
            "start anew with weights=RUN_ID"
        )
    configuration, _ = checkpoints.read_model(folder)
    start = checkpoints.find_step(folder, checkpoints.LATEST)
    return Job(configuration, settings, _source(run, data), digest, start), data


def _open_dataset(run: Run, value: str) -> Dataset:
    return records.open_dataset(run.input("dataset", value, operations=("prepare",), artifact="dataset"))


def _source(run: Run, data: Dataset) -> str:
    """Say where other workers find the data set too."""
    return run.input_run("dataset") or str(data.folder)


def _build(strategy: tf.distribute.Strategy, job: Job, label_map: LabelMap) -> Architecture:
    """Build the network with fresh weights, on all replicas."""
    distribution.require_even_shares(strategy, job.configuration.training.batch_size)
    _set_seed(job.settings.seed)
    precision = job.configuration.training.precision
    if precision != "float32" and not tf.config.list_logical_devices("GPU"):
        logger.warning(
            "training.precision: %s is for GPUs, and TensorFlow sees none here; most CPUs are slower with it than with "
            "float32",
            precision,
        )
    with strategy.scope():
        return architectures.build(job.configuration, len(label_map), precision=precision)


def _examine(network: Architecture, data: Dataset, run: Run) -> None:
    """Warn of what the network will hardly learn of the data."""
    found = suitability.examine(data, network)
    for line in found.warnings():
        logger.warning("%s", line)
    run.log_metrics({"data/matched_by_anchors": found.matched})


def _set_seed(seed: int) -> None:
    # TensorFlow cannot shuffle by the seed of an epoch where the global one is 0.
    keras.utils.set_random_seed(seed + 1)


def _start_from(weights: str, network: Architecture, run: Run, label_map: LabelMap) -> None:
    """Load the weights, tag the run with where they come from, and say how much of the network they fill."""
    if tracking.is_run_id(weights) or weights.startswith("models:/"):
        operations = ("transfer_learn", "train", "export_and_freeze")
        source = str(run.input("weights", weights, operations=operations, artifact=("train", "graph")))
    else:
        source = weights
        path = Path(weights).expanduser()
        run.tag("odml.input.weights", path.resolve() if path.exists() else weights)
    summary = initial_weights.load(network, source, label_map).summary()
    logger.info("%s", summary)
    run.log_text(f"{summary}\n", "initial_weights.txt")


@dataclass(frozen=True)
class _State:
    """What a training changes."""

    network: Architecture
    optimizer: keras.optimizers.Optimizer
    averages: WeightAverages | None

    @classmethod
    def of(cls, network: Architecture, job: Job) -> _State:
        """Make a network ready to be trained."""
        recipe = job.configuration.training
        network.freeze(job.settings.frozen_blocks)
        optimizer = training.make_optimizer(recipe, network, steps=job.settings.train_steps)
        averages = WeightAverages(network, recipe.average_decay) if recipe.average_decay else None
        return cls(network, optimizer, averages)

    @property
    def variables(self) -> list[distribution.Variable]:
        averaged = self.averages.variables.values() if self.averages else ()
        return [*self.network.variables, *self.optimizer.variables, *averaged]

    def saver(
        self, folders: tuple[ArtifactFolder, ArtifactFolder], job: Job, label_map: LabelMap
    ) -> checkpoints.Checkpoints:
        """Give what keeps it in the first of the folders; both are published then."""
        return checkpoints.Checkpoints(
            folders[0].path,
            self.network,
            label_map,
            optimizer=self.optimizer,
            averages=self.averages,
            settings=asdict(job.settings),
            keep=job.configuration.training.keep_checkpoints,
            on_change=lambda: _publish(folders),
        )


def _train(
    state: _State, job: Job, data: Dataset, *, saver: training.Saver, logbook: Logbook | _Nothing, stop: StopSignals
) -> training.Outcome:
    recipe = job.configuration.training
    strategy = tf.distribute.get_strategy()
    distribution.share_values(strategy, state.variables)
    order = {"batch_size": recipe.batch_size, "seed": job.settings.seed}
    load = partial(
        batches.training_batches,
        data,
        **order,
        resize=state.network.resize,
        augment=recipe.augmentation,
        start=job.start,
    )
    return training.train(
        state.network,
        strategy.distribute_datasets_from_function(load),
        optimizer=state.optimizer,
        averages=state.averages,
        plan=job.settings.plan(recipe),
        start=job.start,
        saver=saver,
        evaluate=logbook.evaluate,
        report=logbook.report,
        stop=stop,
        batch_size=recipe.batch_size,
        name_sources=lambda step: batches.batch_sources(data, **order, number=step - 1),
    )


def _guarding_memory(run: Run | None, batch_size: int) -> AbstractContextManager[None]:
    """Give what ends this process, and says why, before the kernel ends it without a word."""

    def end(message: str) -> None:
        click.echo(f"Error: {message}", err=True)
        tracking.end_at_once(run.id if run else None, message)

    return host_memory.guarded(end, advice=training.what_takes_less_memory(batch_size))


def _publish(folders: tuple[ArtifactFolder, ...]) -> None:
    for folder in folders:
        folder.publish()


class _Nothing:
    """Stands, in a worker, for what the chief keeps."""

    scores: Mapping[int, float] = {}
    evaluations_without_gain = 0

    def save(self, step: int) -> None: ...

    def add_score(self, step: int, score: float) -> None: ...

    def report(self, metrics: Mapping[str, float], step: int) -> None: ...

    def evaluate(self, step: int) -> dict[str, float]:
        return {}
