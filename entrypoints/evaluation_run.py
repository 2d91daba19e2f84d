"""What every evaluation of a run does, be it the end of a checkpoint in training or an operation of its own."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from entrypoints.evaluation_report import log_report
from odml import batches, drawing, evaluation, prediction, records, report
from odml.errors import RecordError
from odml.structures import Detections

if TYPE_CHECKING:
    from odml.records import Dataset
    from odml.structures import Annotation, LabelMap
    from odml.tracking import Run

DRAWN_SCORE = 0.3
# What the names of metrics and pictures begin with, by the side of the split that is measured.
PREFIXES = {"val": "eval", "test": "test"}


class Evaluator:
    """Measures what detects on one side of a data set's split, and logs metrics and pictures to a run.

    Args:
        label_map: that of ``predictor``.
        examples: how many records to take, -1 for all.
        pictures: how many of the first pictures are drawn, ground truth beside detections.
        side: "val" or "test".
    Raises:
        RecordError: no records on that side, or classes that are not the network's.
    """

    def __init__(
        self,
        run: Run,
        predictor: prediction.Predictor,
        dataset: Dataset,
        *,
        label_map: LabelMap,
        examples: int,
        pictures: int = 4,
        side: str = "val",
    ):
        _require_records(dataset, side)
        require_same_classes(dataset, label_map)
        self._run = run
        self._dataset = dataset
        self._prefix = PREFIXES[side]
        self._records = dataset.records_of(side)
        there = dataset.examples_of(side)
        self._examples = there if examples < 0 else min(examples, there)
        run.tag("odml.evaluated_images", self._examples)
        self._predictor = predictor
        self._images = [image.numpy() for image in batches.read_images(self._records, pictures)]

    def evaluate(self, step: int) -> evaluation.Analysis:
        """Measure the detector as it is now; log ``eval/...`` or ``test/...`` metrics and pictures under the step."""
        analysis, *_ = self._measure(step, self._predictor.detect)
        return analysis

    def report(self, step: int, *, title: str, facts: Mapping[str, str]) -> evaluation.Analysis:
        """Do as ``evaluate`` does, and log the speed and the report of the evaluation too.

        Args:
            title: what the page calls what is measured.
            facts: what else its head says, by name.
        """
        timed = report.Timed(self._predictor.detect)
        analysis, annotations, detections = self._measure(step, timed)
        speed = timed.speed()
        if speed:
            self._run.log_metrics({f"{self._prefix}/{name}": value for name, value in speed.metrics().items()}, step)
        images = batches.read_images_at(self._records, [each.picture for each in analysis.worst])
        log_report(self._run, analysis, annotations, detections, images, title=title, facts=facts, speed=speed)
        return analysis

    def _measure(
        self, step: int, detect: prediction.Detect
    ) -> tuple[evaluation.Analysis, list[Annotation], list[Detections]]:
        annotations, detections = prediction.predict(
            detect,
            batches.evaluation_batches(
                self._records,
                self._dataset.label_map,
                batch_size=self._predictor.batch_size,
                resize=self._predictor.resize,
                examples=self._examples,
            ),
            self._dataset.label_map,
            examples=self._examples,
        )
        analysis = evaluation.analyse(annotations, detections, self._dataset.label_map)
        metrics = analysis.metrics() | analysis.class_metrics()
        self._run.log_metrics({f"{self._prefix}/{name}": value for name, value in metrics.items()}, step)
        self._log_pictures(annotations, detections, step)
        return analysis, annotations, detections

    def begin(self) -> None:
        """Log the pictures at step 0, with nothing found yet: without them the UI's sliders begin at an empty card."""
        annotations = itertools.islice(
            records.read_annotations(self._records, self._dataset.label_map), len(self._images)
        )
        nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
        self._log_pictures(list(annotations), [nothing] * len(self._images), 0)

    def _log_pictures(self, annotations: Sequence[Annotation], detections: Sequence[Detections], step: int) -> None:
        rows = zip(self._images, annotations, detections, strict=False)
        for number, (image, annotation, found) in enumerate(rows):
            picture = drawing.beside(
                drawing.draw_annotation(image, annotation, self._dataset.label_map),
                drawing.draw_detections(image, found.best(score_threshold=DRAWN_SCORE), self._dataset.label_map),
            )
            self._run.log_image(np.asarray(picture), key=f"{self._prefix}/image_{number}", step=step)


def _require_records(dataset: Dataset, side: str) -> None:
    if side == "val" and not dataset.val_examples:
        raise RecordError(f"{dataset.folder}: has no validation records; prepare it with a val_split above 0")
    if not dataset.examples_of(side):
        raise RecordError(
            f"{dataset.folder}: has no test records; prepare it with a test_split above 0, or from data that bring a "
            "split into train, val and test"
        )


def require_same_classes(dataset: Dataset, label_map: LabelMap) -> None:
    """Refuse a data set whose classes are not the network's.

    Raises:
        RecordError: they differ.
    """
    if dataset.label_map != label_map:
        raise RecordError(
            f"{dataset.folder}: its classes are {list(dataset.label_map.names)}, the network's are "
            f"{list(label_map.names)}; give the data set that it was trained on"
        )
