from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import mlflow
import psutil
import pytest

from odml.tracking import outbox, start_run
from odml.tracking.outbox import Outbox
from odml.tracking.system_metrics import sample_system

CPU = "system/cpu_utilization_percentage"


class FakeStore:
    """A tracking store that can be down; what it got, in order."""

    def __init__(self) -> None:
        self.is_down = False
        self.refusals = 0
        self.steps: list[int] = []

    def log_batch(self, run_id, *, metrics, tags, synchronous):
        if self.is_down:
            self.refusals += 1
            raise ConnectionError("connection refused")
        self.steps += [metric.step for metric in metrics if metric.key == CPU]


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def steps_of(run_id: str) -> list[int]:
    return [each.step for each in mlflow.MlflowClient().get_metric_history(run_id, CPU)]


@pytest.fixture(autouse=True)
def often(tracking_store, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.01")


def test_run_has_the_machines_metrics_and_no_thread_is_left(caplog):
    with caplog.at_level(logging.INFO), start_run("train", system_metrics=True) as run:
        wait_until(lambda: steps_of(run.id))
    metrics = mlflow.get_run(run.id).data.metrics
    assert {CPU, "system/system_memory_usage_megabytes", "system/disk_usage_percentage"} <= set(metrics)
    assert 0 <= metrics[CPU] <= 100
    assert "system metrics" not in [thread.name for thread in threading.enumerate()]
    assert caplog.messages == []


def test_run_without_them_has_none():
    with start_run("prepare") as run:
        assert "system metrics" not in [thread.name for thread in threading.enumerate()]
    assert mlflow.get_run(run.id).data.metrics == {}


def test_run_that_mlflow_run_has_made_goes_on_after_its_last_sample(monkeypatch):
    experiment_id = mlflow.get_experiment_by_name("tests").experiment_id
    made = mlflow.MlflowClient().create_run(experiment_id).info.run_id
    mlflow.MlflowClient().log_metric(made, CPU, 50.0, step=6)
    monkeypatch.setenv("MLFLOW_RUN_ID", made)
    with start_run("train", system_metrics=True):
        wait_until(lambda: len(steps_of(made)) > 1)
    assert steps_of(made)[:2] == [6, 7]


def test_thread_ends_when_the_work_fails():
    with pytest.raises(ZeroDivisionError), start_run("train", system_metrics=True):
        raise ZeroDivisionError
    assert "system metrics" not in [thread.name for thread in threading.enumerate()]


def test_store_that_is_down_is_warned_about_once_and_gets_all_when_it_is_back(monkeypatch, caplog):
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 0.0)
    store = FakeStore()
    with sample_system("0" * 32, Outbox(store, "0" * 32)):
        wait_until(lambda: store.steps)
        store.is_down = True
        wait_until(lambda: store.refusals > 3)
        store.is_down = False
        known = len(store.steps)
        wait_until(lambda: len(store.steps) > known)
    assert caplog.messages == [
        "tracking store: connection refused; the work goes on, logging is tried again later",
    ]
    assert store.steps == list(range(len(store.steps)))


def test_machine_that_cannot_be_measured_is_warned_about_once(monkeypatch, caplog):
    def refuse() -> None:
        raise PermissionError("no /proc here")

    monkeypatch.setattr(psutil, "virtual_memory", refuse)
    with start_run("train", system_metrics=True):
        wait_until(lambda: caplog.messages)
    assert caplog.messages == ["system metrics: cannot be measured (PermissionError: no /proc here)"]
