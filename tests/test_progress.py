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
        list(progress(["a", "b"], total=2, description="reading"))
    assert [message.split(",")[0] for message in caplog.messages] == ["reading: 1 of 2 (50%)", "reading: 2 of 2 (100%)"]


def test_a_line_tells_speed_and_time_left():
    line = progress_line(30, 90, seconds=20, description="reading")
    assert line == "reading: 30 of 90 (33%), 1.5 a second, 0:00:40 left"
