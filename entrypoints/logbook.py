"""Where a training's figures and pictures go: to its MLflow run, and to TensorBoard's event files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from entrypoints.evaluation_run import Evaluator
from odml import gpus
from odml.architectures import Architecture
from odml.prediction import Predictor
from odml.records import Dataset
from odml.tracking import Run

logger = logging.getLogger(__name__)


class Logbook:
    """Sends what a training reports to MLflow and to TensorBoard event files."""

    def __init__(self, run: Run, model: Architecture, data: Dataset, *, eval_examples: int, events: Path):
        self._run = run
        self._events = events
        self._writer: tf.summary.SummaryWriter | None = None
        self._warned = False
        self._evaluator: Evaluator | None = None
        if data.val_examples:
            predictor = Predictor.of_network(model)
            self._evaluator = Evaluator(run, predictor, data, label_map=data.label_map, examples=eval_examples)

    def begin(self) -> None:
        """Show what there is to be found."""
        if self._evaluator:
            self._evaluator.begin()

    def report(self, metrics: Mapping[str, float], step: int) -> None:
        """Send what training measures; what ``evaluate`` gives has the run already."""
        self._run.log_metrics({name: value for name, value in metrics.items() if name.startswith("train/")}, step)
        new = {name: value for name, value in metrics.items() if step > self._run.last_step(name)}
        try:
            self._writer = self._writer or tf.summary.create_file_writer(str(self._events))
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
        metrics = self._evaluator.evaluate(step).metrics()
        scores = [name for name in metrics if name.startswith("coco/mAP")]
        shown = ", ".join(f"{name.removeprefix('coco/')} {metrics[name]:.3f}" for name in scores)
        logger.info("step %d: %s", step, shown or "no objects to find")
        return {f"eval/{name}": value for name, value in metrics.items()}
