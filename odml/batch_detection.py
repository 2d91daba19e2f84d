"""Detecting in many pictures, of which a few are in memory at a time.

Pictures are read in threads, the network works in two, what is found is drawn and encoded in others; files that speak
of all pictures are written in the pictures' order. So nothing waits for another while there is work for it.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from odml.detection_outputs import Output, Result
from odml.detector import Detector, batches_of_one_size
from odml.errors import ImageError, OutputError
from odml.parallel import parallel_map
from odml.progress import progress
from odml.selection import Selection
from odml.sources import Picture, Sources, read_pictures
from odml.structures import Annotation, Detections
from odml.tiling import Tiling, merge

TOLD = 20  # of the pictures that cannot be read
_BATCH = 8
_BATCH_PIXELS = 8_000_000
# While one runs what cannot be shared among cores, the other does.
_NETWORKS = 2

Truth = Callable[[Path, int, int], Annotation | None]


@dataclass
class Outcome:
    """What came of it.

    ``images`` pictures were detected in now and ``existing`` before, with ``detections`` in all of them, by class in
    ``classes``; ``unreadable`` pictures could not be read, and ``reasons`` has a line for each of the first of them.
    ``seconds`` are those from the first picture on.
    """

    images: int = 0
    existing: int = 0
    classes: Counter[int] = field(default_factory=Counter)
    unreadable: int = 0
    reasons: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def detections(self) -> int:
        """How many objects were found."""
        return self.classes.total()

    @property
    def images_per_second(self) -> float | None:
        """The pictures a second; None for fewer than two."""
        return (self.images - 1) / self.seconds if self.images > 1 and self.seconds else None


def detect_all(
    detector: Detector,
    sources: Sources,
    outputs: Sequence[Output],
    *,
    selection: Selection,
    tiling: Tiling | None = None,
    frame_step: int = 1,
    existing: Iterable[Result] = (),
    truth: Truth = lambda path, width, height: None,
    stop: object = False,
) -> Outcome:
    """Detect in all pictures and pass what was found to the outputs; close these, whatever happens.

    Args:
        tiling: look at each picture in tiles too.
        frame_step: which frames of a video to take: each, every second one, ...
        existing: what an earlier run has found; it goes to the outputs first, and its pictures are passed over if
            all outputs have what belongs to them.
        truth: gives the ground truth of a picture file of some width and height, if it is known.
        stop: once it is true no further picture is begun.
    Raises:
        OutputError: a result cannot be written.
        ExportError: the network found a class that the label map does not have.
    """
    outcome = Outcome()
    with writing(), ExitStack() as until_end:
        for output in outputs:
            until_end.callback(output.close)
        done = _go_on(existing, outputs, outcome, truth)
        pictures = read_pictures(sources.sources, wanted=lambda name: name not in done, frame_step=frame_step)
        readable = _readable(pictures, outputs, outcome, stop)

        def look(batch: Sequence[Picture]) -> list[tuple[Picture, Detections]]:
            return list(zip(batch, _look(detector, batch, selection, tiling), strict=True))

        def write(numbered: tuple[int, tuple[Picture, Detections]]) -> tuple[Result, list[Any]]:
            result = _result(numbered[0], *numbered[1], truth)
            return result, [output.write(result) for output in outputs]

        batches = batches_of_one_size(readable, _pixels, images=_BATCH, pixels=_BATCH_PIXELS)
        found = parallel_map(look, batches, workers=_NETWORKS, ahead=_NETWORKS + 1)
        each = zip(count(outcome.existing), (pair for batch in found for pair in batch), strict=False)
        workers = min(os.cpu_count() or 1, 16)
        with closing(parallel_map(write, each, workers=workers, ahead=2 * workers)) as written:
            total = None if sources.images is None else sum(source.name not in done for source in sources.sources)
            _add_all(progress(written, total=total, description="detect"), outputs, outcome)
    return outcome


def _add_all(written: Iterable[tuple[Result, list[Any]]], outputs: Sequence[Output], outcome: Outcome) -> None:
    start = None
    for result, parts in written:
        start = start or time.perf_counter()
        for output, part in zip(outputs, parts, strict=True):
            output.add(result, part)
        outcome.images += 1
        outcome.classes.update(result.detections.classes.tolist())
        outcome.seconds = time.perf_counter() - start


def _go_on(existing: Iterable[Result], outputs: Sequence[Output], outcome: Outcome, truth: Truth) -> set[str]:
    """Pass on what an earlier run has found, and give the names of its pictures."""
    done: set[str] = set()
    for found in existing:
        if all(output.has(found) for output in outputs):
            result = Result(
                index=len(done),
                name=found.name,
                where=found.where,
                width=found.width,
                height=found.height,
                detections=found.detections,
                truth=truth(Path(found.where), found.width, found.height),
            )
            done.add(result.name)
            for output in outputs:
                output.add(result, None)
            outcome.existing += 1
            outcome.classes.update(result.detections.classes.tolist())
    return done


def _readable(
    pictures: Iterable[Picture], outputs: Sequence[Output], outcome: Outcome, stop: object
) -> Iterator[Picture]:
    for picture in pictures:
        if stop:
            return
        if not isinstance(picture.image, ImageError):
            yield picture
            continue
        reason = str(picture.image)
        outcome.unreadable += 1
        outcome.reasons += [reason] if len(outcome.reasons) < TOLD else []
        for output in outputs:
            output.refuse(reason)


def _look(
    detector: Detector, batch: Sequence[Picture], selection: Selection, tiling: Tiling | None
) -> Iterator[Detections]:
    images = [_pixels(picture) for picture in batch]
    least = selection.score_threshold
    if tiling:
        found = [_look_in_tiles(detector, image, least, tiling) for image in images]
    else:
        found = detector.detect(images, score_threshold=least)
    return map(selection.of, found)


def _look_in_tiles(detector: Detector, image: np.ndarray, least: float, tiling: Tiling) -> Detections:
    height, width = image.shape[:2]
    windows = [(0, 0, width, height), *tiling.windows(width=width, height=height)]
    parts = (image[y1:y2, x1:x2] for x1, y1, x2, y2 in windows)
    found = detector.detect(parts, score_threshold=least)
    return merge(list(zip(windows, found, strict=True)), width=width, height=height)


def _result(index: int, picture: Picture, detections: Detections, truth: Truth) -> Result:
    image = _pixels(picture)
    height, width = image.shape[:2]
    known = truth(Path(picture.where), width, height)
    return Result(index, picture.name, picture.where, width, height, detections, image, known)


def _pixels(picture: Picture) -> np.ndarray:
    assert isinstance(picture.image, np.ndarray)
    return picture.image


@contextmanager
def writing() -> Iterator[None]:
    """Let an OSError say which result cannot be written, and what to do: raise OutputError for it."""
    try:
        yield
    except OSError as error:
        where = error.filename2 or error.filename or "a result"
        reason = error.strerror or error
        raise OutputError(f"{where}: cannot be written ({reason}); make room, or choose another folder") from error
