import pytest

from odml.report import Timed


def test_speed_leaves_out_the_first_batch(monkeypatch):
    clock = iter([0.0, 9.0, 10.0, 10.4, 20.0, 20.4])  # begin and end of three batches
    monkeypatch.setattr("odml.report.speed.time.perf_counter", lambda: next(clock))
    detect = Timed(lambda images: {"num_detections": [0.0] * len(images)})
    assert [list(detect([1] * size)) for size in (4, 4, 2)] == [["num_detections"]] * 3
    speed = detect.speed()
    assert speed.metrics() == pytest.approx(
        {"speed/images_per_second": 7.5, "speed/milliseconds": 150.0, "speed/milliseconds_95": 195.0}
    )
    assert speed.batch_size == 4


def test_speed_of_one_batch_is_not_known():
    detect = Timed(lambda images: {"num_detections": [0.0]})
    detect([1])
    assert detect.speed() is None
