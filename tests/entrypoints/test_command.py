from __future__ import annotations

import os
import signal

import click
import pytest
from click.testing import CliRunner

from entrypoints.command import Command
from odml.errors import RecordError


def run(work):
    return CliRunner().invoke(click.command(cls=Command)(work), [])


def test_what_the_user_can_fix_is_one_line_and_exit_code_1():
    def work() -> None:
        raise RecordError("dataset.yml: is missing; run prepare")

    result = run(work)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "Error: dataset.yml: is missing; run prepare\n")


def test_any_other_exception_keeps_its_traceback():
    def work() -> None:
        raise ZeroDivisionError("by zero")

    assert isinstance(run(work).exception, ZeroDivisionError)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_request_to_stop_cleans_up_before_the_command_ends(number):
    cleaned = []

    def work() -> None:
        try:
            signal.raise_signal(number)
        finally:
            cleaned.append(True)

    result = run(work)
    assert (result.exit_code, result.stderr, cleaned) == (1, "\nAborted!\n", [True])


def test_users_own_log_level_of_tensorflow_stays(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    levels = []
    run(lambda: levels.append(os.environ["TF_CPP_MIN_LOG_LEVEL"]))
    assert levels == ["0"]
