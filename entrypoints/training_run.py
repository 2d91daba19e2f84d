"""What train and transfer_learn have in common: all but the weights that they start from."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click
import keras
import tensorflow as tf

from entrypoints.evaluation_run import Evaluator
from entrypoints.options import DEFAULT_MODEL, DEFAULT_WEIGHTS, configuration_of
from odml import architectures, batches, checkpoints, gpus, initial_weights, records, suitability, tracking, training
from odml.architectures import Architecture
from odml.config import Configuration
from odml.config import Training as Recipe
from odml.errors import ConfigurationError
from odml.records import Dataset
from odml.signals import StopSignals
from odml.structures import LabelMap
from odml.tracking import ArtifactFolder, Run
from odml.weight_averages import WeightAverages

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What a training needs to know, beside its model's configuration, to go on where it was.

    ``train_steps`` and ``patience`` are None where nothing but a request ends it; ``eval_examples`` -1 is all.
    """

    seed: int
    train_steps: int | None
    eval_every: int
    eval_examples: int
    patience: int | None
    frozen_blocks: int

    def plan(self, recipe: Recipe) -> training.Plan:
        """Say when what happens; raise ConfigurationError if a number is below 1."""
        return training.Plan(
            steps=self.train_steps,
            checkpoint_every=recipe.checkpoint_every,
            eval_every=self.eval_every,
            patience=self.patience,
        )

    def changed(self, *, train_steps: int, eval_every: int, eval_examples: int, patience: int) -> Settings:
        """Give the settings with those parameters that are given."""
        changes = {"train_steps": train_steps, "eval_every": eval_every, "eval_examples": eval_examples}
        return Settings(
            **asdict(self)
            | {name: value for name, value in changes.items() if value >= 0}
            | ({"patience": patience or None} if patience >= 0 else {})
        )


def train_network(
    operation: str,
    *,
    weights: str,
    model: str,
    dataset: str,
    train_steps: int,
    batch_size: int,
    learning_rate: float,
    eval_every: int,
    checkpoint_every: int,
    eval_examples: int,
    patience: int,
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
        )
        prepare = partial(_resumed, changes=changes)
        model_tag = None
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
        prepare = partial(_started, configuration=configuration, settings=settings, dataset=dataset, weights=weights)
        model_tag = model
    with (
        tracking.start_run(operation, model=model_tag, resume=resume, system_metrics=True) as run,
        StopSignals() as stop,
    ):
        folders = run.artifact_folder("train"), run.artifact_folder("tensorboard")
        outcome = _train(run, *prepare(run, folders[0].path), folders=folders, stop=stop, resumes=bool(resume))
        run.tag("odml.stop_reason", f"{outcome.reason} step={outcome.step}")
    click.echo(f"{outcome.reason} after step {outcome.step}: {run.artifact_uri}/train (run {run.id})")


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
        seed=seed if seed >= 0 else random.SystemRandom().randrange(2**31),
        train_steps=None,
        eval_every=recipe.checkpoint_every,
        eval_examples=-1,
        patience=recipe.patience or None,
        frozen_blocks=recipe.frozen_blocks if is_frozen else 0,
    ).changed(**changes)


def _started(
    run: Run, folder: Path, *, configuration: Configuration, settings: Settings, dataset: str, weights: str
) -> tuple[Architecture, Dataset, Settings]:
    """Build the network of a new training and give it its first weights."""
    data = records.open_dataset(run.input("dataset", dataset, operations=("prepare",), artifact="dataset"))
    run.log_parameters(configuration.model_dump(mode="json") | {"seed": settings.seed})
    run.log_text(configuration.to_yaml(), "config.yml")
    run.log_dataset(data.name or data.folder.name, digest=data.digest, source=data.folder, context="training")
    run.tag("odml.data.digest", data.digest)
    _set_seed(settings.seed)
    network = architectures.build(configuration, len(data.label_map))
    found = suitability.examine(data, network)
    for line in found.warnings():
        logger.warning("%s", line)
    run.log_metrics({"data/matched_by_anchors": found.matched})
    if weights != "none":
        _start_from(weights, network, run, data.label_map)
    return network, data, settings


def _resumed(run: Run, folder: Path, *, changes: Mapping[str, int]) -> tuple[Architecture, Dataset, Settings]:
    """Build the network of the run again, for its checkpoint to be brought back."""
    settings = Settings(**checkpoints.read_settings(folder)).changed(**changes)
    source = run.tags.get("odml.input.dataset", "")
    data = records.open_dataset(run.input("dataset", source, operations=("prepare",), artifact="dataset"))
    digest = run.tags.get("odml.data.digest", "")
    if data.digest != digest:
        raise ConfigurationError(
            f"{data.folder}: its content has changed since the training began (digest {data.digest}, then {digest}); "
            "start anew with weights=RUN_ID"
        )
    _set_seed(settings.seed)
    network, _ = checkpoints.rebuild(folder)
    return network, data, settings


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


def _train(
    run: Run,
    network: Architecture,
    data: Dataset,
    settings: Settings,
    *,
    folders: tuple[ArtifactFolder, ArtifactFolder],
    stop: StopSignals,
    resumes: bool,
) -> training.Outcome:
    recipe = network.configuration.training
    plan = settings.plan(recipe)
    network.freeze(settings.frozen_blocks)
    optimizer = training.make_optimizer(recipe, network, steps=plan.steps)
    averages = WeightAverages(network, recipe.average_decay) if recipe.average_decay else None
    saver = checkpoints.Checkpoints(
        folders[0].path,
        network,
        data.label_map,
        optimizer=optimizer,
        averages=averages,
        settings=asdict(settings),
        keep=recipe.keep_checkpoints,
        on_change=lambda: _publish(folders),
    )
    start = saver.restore() if resumes else 0
    if start:
        logger.info("going on after step %d", start)
    logbook = _Logbook(run, network, data, eval_examples=settings.eval_examples, events=folders[1].path)
    order = {"batch_size": recipe.batch_size, "seed": settings.seed}
    return training.train(
        network,
        batches.training_batches(data, **order, resize=network.resize, augment=recipe.augmentation, start=start),
        optimizer=optimizer,
        averages=averages,
        plan=plan,
        start=start,
        saver=saver,
        evaluate=logbook.evaluate,
        report=logbook.report,
        stop=stop,
        name_sources=lambda step: batches.batch_sources(data, **order, number=step - 1),
    )


def _publish(folders: tuple[ArtifactFolder, ...]) -> None:
    for folder in folders:
        folder.publish()


class _Logbook:
    """Sends what a training reports to MLflow and to TensorBoard event files."""

    def __init__(self, run: Run, model: Architecture, data: Dataset, *, eval_examples: int, events: Path):
        self._run = run
        self._writer = tf.summary.create_file_writer(str(events))
        self._warned = False
        self._evaluator = (
            Evaluator(run, model, data, label_map=data.label_map, examples=eval_examples) if data.val_examples else None
        )

    def report(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log_metrics({name: value for name, value in metrics.items() if name.startswith("train/")}, step)
        new = {name: value for name, value in metrics.items() if step > self._run.last_step(name)}
        try:
            with self._writer.as_default(step):
                for name, value in (new | gpus.figures()).items():
                    tf.summary.scalar(name, value)
            self._writer.flush()
        except tf.errors.OpError as error:
            if not self._warned:
                logger.warning("TensorBoard's events cannot be written (%s); training goes on", error.message)
            self._warned = True

    def evaluate(self, step: int) -> dict[str, float]:
        """Measure the network; without validation records there is nothing to measure."""
        if self._evaluator is None:
            return {}
        metrics = self._evaluator.evaluate(step).metrics
        shown = ", ".join(f"{name.removeprefix('coco/')} {metrics[name]:.3f}" for name in metrics if "mAP" in name)
        logger.info("step %d: %s", step, shown or "no objects to find")
        return {f"eval/{name}": value for name, value in metrics.items()}
