from __future__ import annotations

import pytest

from odml.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  what follows: \n  - more"), "what follows: "),
        (ValueError("these:\n- a\n- b"), "these"),
        (MemoryError(), "MemoryError"),
        (OSError(" \n "), "OSError"),
    ],
)
def test_first_line_of_what_an_error_says(error: Exception, line: str):
    assert first_line(error) == line
