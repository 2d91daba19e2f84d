"""Trainings stopped from another terminal; a small program with the signals and the run of one stands for them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner, Result

from entrypoints import stop as module
from entrypoints.stop import stop
from odml.tracking.processes import Process

ROOT = Path(__file__).parents[2]
TRAINING = """
import itertools, time
from odml.signals import StopSignals
from odml.tracking import start_run

with start_run("train", model="tiny") as run, StopSignals() as stop:
    run.log_metrics({"train/loss/total": 1.0}, step=40)
    print(run.id, flush=True)
    while not stop:
        time.sleep(0.01)
    run.tag("odml.stop_reason", f"{stop.reason} step=41")
"""
SLEEPER = "import time; time.sleep(600)"


@dataclass(frozen=True)
class Training:
    process: subprocess.Popen
    run_id: str


@pytest.fixture
def training(tracking_store: Path) -> Iterator[Training]:
    """A run of train that goes on in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", TRAINING]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield Training(process, process.stdout.readline().strip())
        process.kill()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen]:
    """A process that does not say how it ends."""
    with subprocess.Popen([sys.executable, "-c", SLEEPER]) as process:
        yield process
        process.kill()


def begin(process: Process, *, operation: str = "train") -> str:
    """Leave a run that goes on in a process; give its id."""
    experiment_id = mlflow.get_experiment_by_name("tests").experiment_id
    tags = {"odml.operation": operation, **process.to_tags()}
    return mlflow.MlflowClient().create_run(experiment_id, tags=tags, run_name=operation).info.run_id


def run(*options: str) -> Result:
    return CliRunner().invoke(stop, options)


def status_of(run_id: str) -> str:
    return mlflow.get_run(run_id).info.status


def test_training_is_listed_asked_to_stop_and_waited_for(training):
    result = run("--yes", "true")
    assert result.exit_code == 0, result.output
    own = Process.of_pid()
    started = mlflow.get_run(training.run_id).info.start_time
    shown = f"{datetime.fromtimestamp(started / 1000):%Y-%m-%d %H:%M:%S}"
    pid = str(training.process.pid)
    host, name = own.host, "train tiny"
    assert result.stdout.splitlines() == [
        f"{'run':<32}  {'name':<10}  {'host':<{max(4, len(host))}}  {'process':<{max(7, len(pid))}}  "
        f"{'started':<19}  last step",
        f"{training.run_id}  {name}  {host:<4}  {pid:<7}  {shown}  40",
        f"run {training.run_id}: was asked to stop; it saves a checkpoint, evaluates it and ends",
        "waiting for the end; Ctrl-C ends the waiting only",
        f"run {training.run_id}: ended, FINISHED (SIGTERM step=41)",
    ]
    assert training.process.wait(60) == 0


def test_only_the_training_that_is_named_is_stopped(tracking_store, sleeper):
    other = begin(Process.of_pid())
    named = begin(Process.of_pid(sleeper.pid))
    result = run("--run-id", named, "--yes", "true")
    assert result.exit_code == 0, result.output
    assert other not in result.stdout
    assert sleeper.wait(60) == -15
    assert (status_of(named), status_of(other)) == ("KILLED", "RUNNING")


def test_training_whose_process_is_gone_is_marked_killed(tracking_store, sleeper):
    zombie = begin(Process.of_pid(sleeper.pid))
    sleeper.kill()
    sleeper.wait(60)
    result = run("--yes", "true")
    assert f"{sleeper.pid} (gone)" in result.stdout
    assert result.stdout.splitlines()[-1] == (
        f"run {zombie}: its process ended without telling the tracking store; it is now marked KILLED"
    )
    assert "was asked" not in result.stdout
    assert status_of(zombie) == "KILLED"


def test_training_of_another_host_is_named_and_left_alone(tracking_store):
    elsewhere = begin(Process("gpu7", 1, Process.of_pid().created))
    result = run("--yes", "true")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-2:] == [
        f"run {elsewhere}: is on host gpu7; stop it from there",
        "nothing was stopped",
    ]
    result = run("--yes", "true", "--run-id", elsewhere)
    assert (result.exit_code, result.stderr) == (1, f"Error: run {elsewhere}: is on host gpu7; stop it from there\n")
    assert status_of(elsewhere) == "RUNNING"


def test_without_trainings_there_is_nothing_to_do(tracking_store, monkeypatch):
    own = begin(Process.of_pid(), operation="stop")
    monkeypatch.setenv("MLFLOW_RUN_ID", own)
    result = run("--yes", "true")
    assert (result.exit_code, result.stdout) == (0, "no training of this experiment is running\n")
    assert status_of(own) == "FINISHED"


def test_run_of_stop_says_what_it_stopped(tracking_store, sleeper, monkeypatch):
    stopped = begin(Process.of_pid(sleeper.pid))
    own = begin(Process.of_pid(), operation="stop")
    monkeypatch.setenv("MLFLOW_RUN_ID", own)
    assert run("--yes", "true").exit_code == 0
    assert mlflow.get_run(own).data.tags["odml.stopped"] == stopped


def test_run_that_cannot_be_stopped_is_refused(tracking_store):
    own = begin(Process.of_pid(), operation="stop")
    result = run("--run-id", own)
    expected = f"Error: run {own}: is a run of stop; give one of train or transfer_learn\n"
    assert (result.exit_code, result.stderr) == (1, expected)


def test_without_a_terminal_to_ask_at_yes_must_be_given(tracking_store, sleeper):
    asked = begin(Process.of_pid(sleeper.pid))
    result = run()
    assert result.exit_code == 1
    assert result.stderr == "Error: yes: there is no terminal to ask at whether to stop; pass -P yes=true\n"
    assert sleeper.poll() is None
    assert status_of(asked) == "RUNNING"


@pytest.mark.parametrize(("answer", "stopped"), [("n\n", False), ("\n", False), ("y\n", True)])
def test_person_at_a_terminal_is_asked(tracking_store, sleeper, monkeypatch, capsys, answer, stopped):
    begin(Process.of_pid(sleeper.pid))
    keyboard, terminal = pty.openpty()
    with os.fdopen(keyboard, "wb", buffering=0) as keys, os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        keys.write(answer.encode())
        stop.main([], standalone_mode=False)
    output = capsys.readouterr().out
    assert "Stop this training? [y/N]: " in output
    assert ("nothing was stopped" in output) == (not stopped)
    assert (sleeper.poll() is None) == (not stopped)


def test_waiting_ends_but_the_training_goes_on(tracking_store, monkeypatch):
    """A process that is deaf to SIGTERM for as long as the command waits."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); " + SLEEPER
    monkeypatch.setattr(module, "WAIT_SECONDS", 1.0)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.1)
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        slow = begin(Process.of_pid(process.pid))
        result = run("--yes", "true")
        process.kill()
    lines = result.stdout.splitlines()
    assert lines[-1] == f"run {slow}: goes on until it has ended"
    assert f"1 s: waiting for {slow}" in lines
    assert status_of(slow) == "RUNNING"


def test_interrupt_ends_the_waiting_only(tracking_store):
    """A process that does not end when asked; it has Ctrl-C pressed at the command instead."""
    code = """
import os, signal, time
def press(number, frame):
    time.sleep(1)
    os.kill(os.getppid(), signal.SIGINT)
signal.signal(signal.SIGTERM, press)
print("ready", flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        slow = begin(Process.of_pid(process.pid))
        result = run("--yes", "true")
        process.kill()
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-2:] == ["waits no longer", f"run {slow}: goes on until it has ended"]
    assert status_of(slow) == "RUNNING"
