"""What train and transfer_learn have in common: all but the weights that they start from."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from typing import Any

import click
import keras
import tensorflow as tf

from entrypoints.evaluation_run import Evaluator
from odml import architectures, batches, checkpoints, config, initial_weights, records, tracking, training
from odml.architectures import SSD
from odml.config import Configuration
from odml.records import Dataset
from odml.signals import StopSignals
from odml.tracking import ArtifactFolder, Run

logger = logging.getLogger(__name__)


def train_network(
    operation: str,
    *,
    weights: str | None,
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
    """Train a network in a run of its own; ``weights`` None starts from random ones."""
    configuration = config.load(model).with_training(
        batch_size=_given(batch_size), learning_rate=_given(learning_rate), checkpoint_every=_given(checkpoint_every)
    )
    recipe = configuration.training
    plan = training.Plan(
        steps=_given(train_steps),
        checkpoint_every=recipe.checkpoint_every,
        eval_every=eval_every if eval_every >= 0 else recipe.checkpoint_every,
    )
    seed = seed if seed >= 0 else random.SystemRandom().randrange(2**31)
    with tracking.start_run(operation, model=model) as run, StopSignals() as stop:
        data = records.open_dataset(run.input("dataset", dataset, operations=("prepare",), artifact="dataset"))
        _log_inputs(run, configuration, data, seed=seed)
        keras.utils.set_random_seed(seed)
        network = architectures.build(configuration, len(data.label_map))
        if weights is not None:
            count = initial_weights.load(network, weights)
            network.freeze(recipe.frozen_blocks)
            logger.info("%d of %d variables start from %s", count, len(network.variables), weights)
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


def _given(value: Any) -> Any:
    """Give an option's value, or None where it is the -1 that means "not given"."""
    return None if value < 0 else value


def _log_inputs(run: Run, configuration: Configuration, data: Dataset, *, seed: int) -> None:
    run.log_configuration(configuration.model_dump(mode="json") | {"seed": seed})
    run.log_dataset(data.name or data.folder.name, digest=data.digest, source=data.folder, context="training")
    run.tag("odml.data.digest", data.digest)


class _Logbook:
    """Sends what a training reports to MLflow and to TensorBoard event files."""

    def __init__(
        self, run: Run, model: SSD, data: Dataset, *, eval_examples: int, folders: tuple[ArtifactFolder, ArtifactFolder]
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
