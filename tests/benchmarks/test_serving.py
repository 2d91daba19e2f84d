from __future__ import annotations

import io
import time

import numpy as np
from PIL import Image

from benchmarks import serving
from benchmarks.serving import Stage


def test_turn_counts_calls_failures_and_time(monkeypatch):
    monkeypatch.setattr(serving, "TURN_SECONDS", 0.05)
    stage = Stage()
    seconds = iter([1.0, 3.0])

    def good() -> bool:
        time.sleep(0.01)
        return True

    def bad() -> bool:
        time.sleep(0.01)
        failures.append(True)
        return False

    failures: list[bool] = []
    serving.turn(stage, [good, bad, bad], lambda: next(seconds))
    assert 0 < stage.failed == len(failures) < len(stage.latencies)
    assert stage.cpu == 2.0
    assert stage.wall >= 0.05
    assert stage.milliseconds(50) >= 10


def test_figures_of_a_stage():
    stage = Stage(wall=2.0, cpu=0.1, latencies=[0.01, 0.02, 0.03, 0.04])
    assert (stage.rate, stage.milliseconds(50), stage.cpu_milliseconds) == (2.0, 25.0, 25.0)


def test_photo_is_as_large_as_photos_are():
    encoded = serving.photo()
    assert 30_000 < len(encoded) < 150_000
    assert np.asarray(Image.open(io.BytesIO(encoded))).shape == (480, 640, 3)
