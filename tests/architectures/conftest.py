"""The rule of the golden outputs, for the tests of every architecture."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.architectures.goldens import load_rule


@pytest.fixture(scope="session")
def rule() -> ModuleType:
    return load_rule()
