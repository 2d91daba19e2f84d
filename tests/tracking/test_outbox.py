from __future__ import annotations

import logging

import pytest

from odml.errors import TrackingError
from odml.tracking import outbox
from odml.tracking.outbox import Outbox


class FakeStore:
    """A tracking store that can be down; it has the one call of MlflowClient that sends metrics and tags."""

    def __init__(self) -> None:
        self.is_down = False
        self.calls = 0
        self.metrics: list[tuple[str, float, int]] = []
        self.tags: dict[str, str] = {}

    def log_batch(self, run_id, *, metrics, tags, synchronous):
        self.calls += 1
        if self.is_down:
            raise ConnectionError("connection refused\nmore about it")
        self.metrics += [(metric.key, metric.value, metric.step) for metric in metrics]
        self.tags |= {tag.key: tag.value for tag in tags}


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def box(store) -> Outbox:
    return Outbox(store, "r1")


def test_metrics_of_a_step_are_one_request_without_those_that_are_none(store, box):
    box.add_metrics({"loss": 1.5, "mAP@.5": 0.25, "mAP_small": None}, 3)
    assert store.metrics == [("loss", 1.5, 3), ("mAP:40:.5", 0.25, 3)]
    assert store.calls == 1


def test_store_that_is_down_is_warned_about_once(store, box, caplog):
    store.is_down = True
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            box.add_metrics({"loss": 1.0}, step)
    assert caplog.messages == ["tracking store: connection refused; the work goes on, logging is tried again later"]


def test_store_that_is_down_is_not_asked_at_every_step(store, box):
    store.is_down = True
    for step in range(100):
        box.add_metrics({"loss": 1.0}, step)
    assert store.calls == 1


def test_nothing_is_lost_when_the_store_comes_back(store, box, monkeypatch):
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 0.0)
    sent = []
    store.is_down = True
    box.add_metrics({"loss": 1.0}, 0)
    box.add_tag("odml.stop_reason", "SIGINT")
    box.add_artifact("a.txt", lambda: sent.append("a.txt"))
    assert sent == []
    store.is_down = False
    box.add_metrics({"loss": 0.5}, 1)
    assert store.metrics == [("loss", 1.0, 0), ("loss", 0.5, 1)]
    assert store.tags == {"odml.stop_reason": "SIGINT"}
    assert sent == ["a.txt"]


def test_more_metrics_than_a_request_takes_are_several_requests(store, box):
    box.add_metrics({f"AP/{index}": 0.0 for index in range(1001)}, 0)
    assert len(store.metrics) == 1001
    assert store.calls == 2


def test_end_without_the_store_says_what_was_not_stored(store, box):
    store.is_down = True
    box.add_metrics({"loss": 1.0, "speed": 2.0}, 0)
    box.add_artifact("a.txt", lambda: None)
    with pytest.raises(TrackingError) as error:
        box.flush()
    expected = "run r1: 2 metrics, 0 tags and 1 artifacts were not stored (connection refused)"
    assert str(error.value) == expected
