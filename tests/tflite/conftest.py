from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from odml import tflite
from odml.architectures import SSD
from odml.records import Dataset
from tests import tiny


@pytest.fixture(scope="package")
def network() -> SSD:
    return tiny.lively_network()


@pytest.fixture(scope="package")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Pictures of one object each."""
    examples = [tiny.serialize([("red", (10 + 2 * k, 10, 40, 50))], source_id=f"{k}.png") for k in range(6)]
    return tiny.write_dataset(tmp_path_factory.mktemp("records") / "dataset", train=examples[:4], val=examples[4:])


class Written(NamedTuple):
    folder: Path
    differences: dict[str, tflite.Difference]


@pytest.fixture(scope="package")
def written(network: SSD, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The small network's files in all forms."""
    folder = tmp_path_factory.mktemp("tflite")
    forms = list(tflite.FILES)
    return Written(folder, tflite.write(network, folder, forms=forms, label_map=tiny.LABEL_MAP, dataset=dataset))
