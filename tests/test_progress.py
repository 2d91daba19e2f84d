import logging

import pytest

from odml import progress as progress_module
from odml.progress import progress, progress_line


def test_items_pass_through_unchanged():
    assert list(progress(["a", "b"], total=2, description="reading")) == ["a", "b"]


def test_nothing_is_shown_for_no_items():
    assert list(progress([], total=0, description="reading")) == []


def test_a_log_gets_lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress_module, "_SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, logger="odml.progress"):
        list(progress(["a", "b", "c", "d"], total=4, description="reading", note=lambda: "loss 1"))
    lines = [message.split(", ") for message in caplog.messages]
    assert [(line[0], line[-1]) for line in lines] == [
        ("reading: 2 of 4 (50%)", "loss 1"),
        ("reading: 3 of 4 (75%)", "loss 1"),
        ("reading: 4 of 4 (100%)", "loss 1"),
    ]


def test_a_line_tells_speed_and_time_left():
    line = progress_line(30, 90, speed=1.5, description="reading")
    assert line == "reading: 30 of 90 (33%), 1.5 a second, 0:00:40 left"


def test_a_line_without_an_end_tells_the_speed():
    assert progress_line(30, None, speed=1.5, description="train") == "train: 30, 1.5 a second"
