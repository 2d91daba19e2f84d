"""What the tests share: an MLflow store of their own, and the reference data where it is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from odml.architectures import SSD
    from odml.records import Dataset
    from odml.tflite import Difference

# Read when MLflow and TensorFlow are imported.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture
def shared() -> Path:
    """The folder of reference data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs the reference data in ../shared")
    return SHARED


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs; making one takes seconds, copying it none."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    SqlAlchemyStore(f"sqlite:///{path}", str(path.parent / "unused"))
    return path


@pytest.fixture
def tracking_store(empty_store: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder to work in, whose ``mlflow.db`` is the default tracking store; the experiment is named "tests"."""
    with store_in(tmp_path, empty_store):
        yield tmp_path


@contextmanager
def store_in(folder: Path, empty_store: Path) -> Iterator[None]:
    """Work in a folder with a copy of the store, as ``tracking_store`` does for one test."""
    import mlflow

    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in [name for name in os.environ if name.startswith("MLFLOW_") and name != "MLFLOW_DISABLE_TELEMETRY"]:
            monkeypatch.delenv(name)
        monkeypatch.chdir(folder)
        shutil.copy(empty_store, folder / "mlflow.db")
        # The experiment Default of the copied store keeps its artifacts beside the original.
        mlflow.MlflowClient().create_experiment("tests", str(folder / "mlruns"))
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "tests")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield
        mlflow.end_run()


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export folder of the network that sees quadrants."""
    from odml.export import export
    from tests.quadrants import LABEL_MAP, Quadrants

    folder = tmp_path_factory.mktemp("export") / "graph"
    export(Quadrants(), folder, label_map=LABEL_MAP, step=7)
    return folder


class Exported(NamedTuple):
    """A network, its export folder in all forms, and the data set that these were made with."""

    network: SSD
    folder: Path
    dataset: Dataset
    differences: dict[str, Difference]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The small network in all forms; the pictures of its data set have one object each."""
    from odml import tflite
    from odml.export import export, write_onnx
    from tests import tiny

    network = tiny.lively_network()
    examples = [tiny.serialize([("red", (10 + 2 * k, 10, 40, 50))], source_id=f"{k}.png") for k in range(6)]
    dataset = tiny.write_dataset(tmp_path_factory.mktemp("records") / "dataset", train=examples[:4], val=examples[4:])
    folder = tmp_path_factory.mktemp("exported") / "graph"
    export(network, folder, label_map=tiny.LABEL_MAP, step=7)
    forms = list(tflite.FILES)
    differences = tflite.write(network, folder, forms=forms, label_map=tiny.LABEL_MAP, dataset=dataset)
    write_onnx(network.detect, folder / "model.onnx")
    return Exported(network, folder, dataset, differences)
