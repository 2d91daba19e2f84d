from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from odml.tracking.processes import Process


@pytest.fixture
def child() -> Iterator[subprocess.Popen]:
    """A process that does nothing for a minute."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_process_is_what_the_tags_say():
    own = Process.of_pid()
    assert own.pid == os.getpid()
    found = Process.from_tags(own.to_tags())
    assert found is not None
    assert found == replace(own, created=found.created)
    assert found.is_here
    assert found.is_alive()


def test_tags_are_text_to_read():
    own = Process.of_pid()
    assert own.to_tags() == {
        "odml.host": own.host,
        "odml.process": f"{own.pid} {own.created:%Y-%m-%dT%H:%M:%S}.{own.created.microsecond // 1000:03}+00:00",
    }


@pytest.mark.parametrize("tags", [{}, {"odml.host": "here"}, {"odml.process": "7 2026-11-23T20:00:00.000+00:00"}])
def test_run_without_the_tags_has_no_known_process(tags):
    assert Process.from_tags(tags) is None


def test_process_of_another_host_is_not_here():
    assert not replace(Process.of_pid(), host="elsewhere").is_here


def test_process_ends_when_it_is_terminated(child):
    process = Process.of_pid(child.pid)
    assert process.is_alive()
    assert process.terminate()
    assert child.wait(60) == -15
    assert not process.is_alive()
    assert not process.terminate()


def test_zombie_is_not_alive(child):
    process = Process.of_pid(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not process.is_alive()


def test_later_process_with_the_same_number_is_another_one(child):
    process = Process.of_pid(child.pid)
    earlier = replace(process, created=process.created - timedelta(minutes=1))
    assert not earlier.is_alive()
    assert not earlier.terminate()
    assert child.poll() is None


@pytest.mark.skipif(os.getuid() == 0, reason="root may signal every process")
def test_process_of_another_user_cannot_be_terminated():
    from odml.errors import TrackingError

    with pytest.raises(TrackingError) as error:
        Process.of_pid(1).terminate()
    assert str(error.value) == "process 1: belongs to another user; stop it as that user"
