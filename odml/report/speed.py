"""How fast a network detects."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Speed:
    """Pictures through a network and its postprocessing, without reading and resizing them.

    ``milliseconds`` and ``milliseconds_95`` are of one picture: the median of the batches, and what 95 % of them keep.
    """

    images_per_second: float
    milliseconds: float
    milliseconds_95: float
    batch_size: int

    def metrics(self) -> dict[str, float]:
        """Give the figures by the names that runs are compared by."""
        return {
            "speed/images_per_second": self.images_per_second,
            "speed/milliseconds": self.milliseconds,
            "speed/milliseconds_95": self.milliseconds_95,
        }


class Timed:
    """A detector that measures its time.

    Args:
        detect: images [B, H, W, 3] -> named outputs, ``num_detections`` among them; on a GPU they may come later.
    """

    def __init__(self, detect: Callable[[Any], Mapping[str, Any]]) -> None:
        self._detect = detect
        self._batches: list[tuple[int, float]] = []  # pictures, seconds

    def __call__(self, images: Any) -> Mapping[str, Any]:
        """Detect, wait for the outputs, and note the time."""
        start = time.perf_counter()
        found = self._detect(images)
        np.asarray(found["num_detections"])
        self._batches.append((len(images), time.perf_counter() - start))
        return found

    def speed(self) -> Speed | None:
        """Sum up the batches but the first, which builds the graph; None before the second."""
        if len(self._batches) < 2:
            return None
        pictures, seconds = np.array(self._batches[1:]).T
        each = 1000 * seconds / pictures
        return Speed(
            images_per_second=float(pictures.sum() / seconds.sum()),
            milliseconds=float(np.median(each)),
            milliseconds_95=float(np.percentile(each, 95)),
            batch_size=int(pictures.max()),
        )
