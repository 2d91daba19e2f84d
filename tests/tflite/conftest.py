from __future__ import annotations

import pytest

from odml.architectures import SSD
from odml.records import Dataset
from tests.conftest import Exported


@pytest.fixture(scope="session")
def network(exported: Exported) -> SSD:
    return exported.network


@pytest.fixture(scope="session")
def dataset(exported: Exported) -> Dataset:
    return exported.dataset


@pytest.fixture(scope="session")
def written(exported: Exported) -> Exported:
    """The small network's files in all forms."""
    return exported
