"""What train and transfer_learn have in common: all but the weights that they start from."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from pathlib import Path

import click
import keras
import tensorflow as tf

from entrypoints.evaluation_run import Evaluator
from entrypoints.options import configuration_of, given
from odml import architectures, batches, checkpoints, initial_weights, records, tracking, training
from odml.architectures import Architecture
from odml.config import Configuration
from odml.errors import ConfigurationError
from odml.records import Dataset
from odml.signals import StopSignals
from odml.structures import LabelMap
from odml.tracking import ArtifactFolder, Run

logger = logging.getLogger(__name__)


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
    seed: int,
) -> None:
    """Train a network in a run of its own; ``weights`` "none" starts from random ones."""
    configuration = configuration_of(
        model=model, batch_size=batch_size, learning_rate=learning_rate, checkpoint_every=checkpoint_every
    )
    if not weights:
        raise ConfigurationError("weights: is empty; pass coco, imagenet, none, a path, a run's id or a models:/ URI")
    recipe = configuration.training
    plan = training.Plan(
        steps=given(train_steps),
        checkpoint_every=recipe.checkpoint_every,
        eval_every=eval_every if eval_every >= 0 else recipe.checkpoint_every,
    )
    seed = seed if seed >= 0 else random.SystemRandom().randrange(2**31)
    with tracking.start_run(operation, model=model) as run, StopSignals() as stop:
        data = records.open_dataset(run.input("dataset", dataset, operations=("prepare",), artifact="dataset"))
        _log_inputs(run, configuration, data, seed=seed)
        keras.utils.set_random_seed(seed)
        network = architectures.build(configuration, len(data.label_map))
        if weights != "none":
            _start_from(weights, network, run, data.label_map)
            network.freeze(recipe.frozen_blocks)
        optimizer = training.make_optimizer(recipe, network, steps=plan.steps)
        folder, events = run.artifact_folder("train"), run.artifact_folder("tensorboard")
        saver = checkpoints.Checkpoints(folder.path, network, data.label_map, optimizer=optimizer)
        logbook = _Logbook(run, network, data, eval_examples=eval_examples, folders=(folder, events))
        outcome = training.train(
            network,
            batches.training_batches(
                data, batch_size=recipe.batch_size, resize=network.resize, augment=recipe.augmentation, seed=seed
            ),
            optimizer=optimizer,
            plan=plan,
            save=saver.save,
            evaluate=logbook.evaluate,
            report=logbook.report,
            stop=stop,
        )
        run.tag("odml.stop_reason", f"{outcome.reason} step={outcome.step}")
    click.echo(f"{outcome.reason} after step {outcome.step}: {run.artifact_uri}/train (run {run.id})")


def _log_inputs(run: Run, configuration: Configuration, data: Dataset, *, seed: int) -> None:
    run.log_parameters(configuration.model_dump(mode="json") | {"seed": seed})
    run.log_text(configuration.to_yaml(), "config.yml")
    run.log_dataset(data.name or data.folder.name, digest=data.digest, source=data.folder, context="training")
    run.tag("odml.data.digest", data.digest)


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


class _Logbook:
    """Sends what a training reports to MLflow and to TensorBoard event files."""

    def __init__(
        self,
        run: Run,
        model: Architecture,
        data: Dataset,
        *,
        eval_examples: int,
        folders: tuple[ArtifactFolder, ArtifactFolder],
    ):
        self._run = run
        self._folders = folders
        self._writer = tf.summary.create_file_writer(str(folders[1].path))
        self._evaluator = (
            Evaluator(run, model, data, label_map=data.label_map, examples=eval_examples) if data.val_examples else None
        )

    def report(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log_metrics({name: value for name, value in metrics.items() if name.startswith("train/")}, step)
        with self._writer.as_default(step):
            for name, value in metrics.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def evaluate(self, step: int) -> dict[str, float]:
        """Publish the checkpoint, then measure it; without validation records there is nothing to measure."""
        for folder in self._folders:
            folder.publish()
        if self._evaluator is None:
            return {}
        metrics = self._evaluator.evaluate(step).metrics
        shown = ", ".join(f"{name.removeprefix('coco/')} {metrics[name]:.3f}" for name in metrics if "mAP" in name)
        logger.info("step %d: %s", step, shown or "no objects to find")
        return {f"eval/{name}": value for name, value in metrics.items()}
