"""The evaluation of many pictures, against pycocotools: are the numbers the same, and how long does each take?

``python -m benchmarks.evaluation`` draws ground truth and 100 detections for each of 5,000 pictures, of 80 classes,
has both evaluate them, each in a process of its own, and prints what they find. Seconds are of the processor, as
other work on the machine does not change them much; those on the clock stand beside them. Both start with what they are
made for: pycocotools with JSON files, which it reads, and odml with the detections in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from odml.evaluation import analyse, evaluate
from odml.evaluation.coco import TITLES
from odml.report import write_ground_truth, write_predictions
from odml.structures import Annotation, Detections, LabelMap

IMAGES = 5000
DETECTIONS = 100
LABEL_MAP = LabelMap(tuple(f"class {number}" for number in range(1, 81)))
_OBJECTS = 7  # the mean of COCO's pictures
_SIDE = 640


@dataclass(frozen=True)
class Cost:
    """What an evaluation found and took; ``megabytes`` is how much the process's memory has grown to at most."""

    metrics: list[float]
    cpu: float
    wall: float
    megabytes: float

    def __str__(self) -> str:
        return f"{self.cpu:.2f} s of processor time, {self.wall:.2f} s on the clock, {self.megabytes:.0f} MB more"


def draw(images: int) -> tuple[list[Annotation], list[Detections]]:
    """Draw the ground truth and detections of pictures, the same each time."""
    rng = np.random.default_rng(1)
    pairs = [_draw_picture(rng, f"{number:06}.jpg") for number in range(images)]
    return [annotation for annotation, _ in pairs], [found for _, found in pairs]


def _draw_picture(rng: np.random.Generator, name: str) -> tuple[Annotation, Detections]:
    boxes = _boxes(rng, rng.poisson(_OBJECTS))
    classes = rng.integers(1, len(LABEL_MAP) + 1, len(boxes))
    annotation = Annotation(Path(name), _SIDE, _SIDE, boxes, tuple(LABEL_MAP.name_of(number) for number in classes))
    near = np.repeat(boxes, 4, axis=0)[:DETECTIONS]
    near = near + rng.normal(0, 0.08, near.shape) * (near[:, 2:] - near[:, :2]).repeat(2, axis=1)
    others = rng.integers(1, len(LABEL_MAP) + 1, DETECTIONS)
    known = np.repeat(classes, 4)[:DETECTIONS]
    others[: len(known)] = np.where(rng.random(len(known)) < 0.8, known, others[: len(known)])
    scores = np.concatenate([rng.beta(4, 2, len(near)), rng.beta(1, 8, DETECTIONS - len(near))])
    order = np.argsort(-scores)
    found = np.concatenate([near, _boxes(rng, DETECTIONS - len(near))])
    return annotation, Detections(
        found[order].astype(np.float32), scores[order].astype(np.float32), others[order].astype(np.int32)
    )


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    sides = np.exp(rng.uniform(np.log(8), np.log(400), (count, 1))) * rng.uniform(0.7, 1.4, (count, 2))
    corners = rng.uniform(0, 1, (count, 2)) * (_SIDE - np.minimum(sides, _SIDE))
    return np.concatenate([corners, corners + sides], axis=1).round(1).astype(np.float32)


def by_odml(images: int) -> Cost:
    """Reckon the 12 numbers."""
    drawn = draw(images)
    with _measured() as cost:
        metrics = evaluate(*drawn, LABEL_MAP).metrics
    return Cost(list(metrics.values()), *cost)


def whole_by_odml(images: int) -> Cost:
    """Reckon all that a report shows, curves, confusion, kinds of errors and calibration with it."""
    drawn = draw(images)
    with _measured() as cost:
        analysis = analyse(*drawn, LABEL_MAP)
    return Cost(list(analysis.evaluation.metrics.values()), *cost)


def by_pycocotools(images: int) -> Cost:
    """Read COCO's files and reckon the 12 numbers."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations, detections = draw(images)
    with tempfile.TemporaryDirectory() as folder:
        truth, found = Path(folder, "truth.json"), Path(folder, "found.json")
        write_ground_truth(truth, annotations, LABEL_MAP)
        write_predictions(found, detections)
        with _measured() as cost, contextlib.redirect_stdout(io.StringIO()):
            objects = COCO(str(truth))
            scorer = COCOeval(objects, objects.loadRes(str(found)), "bbox")
            scorer.evaluate()
            scorer.accumulate()
            scorer.summarize()
    return Cost(scorer.stats.tolist(), *cost)


@contextlib.contextmanager
def _measured():  # type: ignore[no-untyped-def]
    """Give a list that has, after the block, its processor seconds, its seconds, and its megabytes."""
    cost: list[float] = []
    before, cpu, start = _peak(), time.process_time(), time.perf_counter()
    yield cost
    cost += [time.process_time() - cpu, time.perf_counter() - start, _peak() - before]


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # Linux counts kB


def run(images: int, *, reference: bool) -> dict[str, float]:
    """Measure and print; without the reference only odml."""
    costs = {}
    for name, measure in {
        "odml, COCO's numbers": by_odml,
        "odml, the whole report": whole_by_odml,
        **({"pycocotools": by_pycocotools} if reference else {}),
    }.items():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            costs[name] = fresh.submit(measure, images).result()
        print(f"{images} pictures, {name}: {costs[name]}", flush=True)
    ours, whole, *others = costs.values()
    figures = {
        "seconds": ours.cpu,
        "report_seconds": whole.cpu,
        "report_mb": whole.megabytes,
    }
    for theirs in others:
        for title, our_value, their_value in zip(TITLES.values(), ours.metrics, theirs.metrics, strict=True):
            print(f"{title:<10}  {our_value:.12f}  {their_value:.12f}")
        difference = max(abs(mine - other) for mine, other in zip(ours.metrics, theirs.metrics, strict=True))
        figures |= {
            "pycocotools_seconds": theirs.cpu,
            "ratio": theirs.cpu / ours.cpu,
            "difference": difference,
        }
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES, help=f"how many pictures; default {IMAGES}")
    parser.add_argument("--without-pycocotools", action="store_true", help="measure odml alone, for many pictures")
    given = parser.parse_args(arguments)
    figures = run(given.images, reference=not given.without_pycocotools)
    print("evaluation:", *(f"{name}={value:.3g}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
