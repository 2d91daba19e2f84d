from __future__ import annotations

import platform
from importlib.metadata import version

from click.testing import CliRunner

from entrypoints.check import check
from odml import __version__


def lines(output: str) -> dict[str, str]:
    return {line[:18].strip(): line[18:] for line in output.splitlines()}


def test_each_thing_has_its_line(tracking_store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tracking_store}/mlflow.db")
    result = CliRunner().invoke(check)
    found = lines(result.stdout)
    assert result.exit_code == 0
    assert list(found) == [
        "python",
        "odml",
        "tensorflow",
        "mlflow",
        "GPUs",
        "tracking store",
        "model registry",
        "ImageNet weights",
    ]
    assert found["python"] == platform.python_version()
    assert found["odml"] == __version__
    assert found["mlflow"] == version("mlflow")
    assert found["tracking store"] == f"sqlite:///{tracking_store}/mlflow.db"
    assert found["ImageNet weights"].endswith((".h5", "put the file there"))


def test_store_that_does_not_answer_is_missing(tracking_store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = CliRunner().invoke(check)
    assert result.exit_code == 1
    assert lines(result.stdout)["tracking store"].startswith("MISSING: tracking store http://127.0.0.1:9: ")
