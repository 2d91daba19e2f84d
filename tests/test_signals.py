from __future__ import annotations

import signal

import pytest

from odml import signals
from odml.signals import StopSignals, interruptible


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_request_to_stop_is_a_flag_with_its_reason(name):
    with StopSignals() as stop:
        assert not stop
        signal.raise_signal(signal.Signals[name])
        assert stop
        assert stop.reason == name


def test_sigterm_that_follows_sigint_is_the_same_request():
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert stop.reason == "SIGINT"


def test_second_sigint_later_interrupts(monkeypatch):
    monkeypatch.setattr(signals, "SAME_REQUEST_SECONDS", 0.0)
    with StopSignals():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_first_request_is_passed_on_once():
    passed_on = []
    with StopSignals(on_request=lambda: passed_on.append("stop")):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert passed_on == ["stop"]


@pytest.mark.parametrize("block", [StopSignals, interruptible])
def test_handlers_are_put_back(block):
    before = [signal.getsignal(number) for number in signals.STOPPING]
    with block():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in signals.STOPPING] == before


def test_interrupt_that_a_shell_had_ignored_for_a_background_job_counts():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.reason == "SIGINT"
    finally:
        signal.signal(signal.SIGINT, before)


def test_hangup_that_nohup_has_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop
    finally:
        signal.signal(signal.SIGHUP, before)


def test_sigterm_interrupts_once_so_that_cleaning_up_is_not_broken():
    with interruptible():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
