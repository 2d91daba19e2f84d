from __future__ import annotations

import platform
from importlib.metadata import version

from click.testing import CliRunner

from entrypoints.check import check
from odml import __version__

KERAS_FILES = (
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
)


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
        "COCO weights",
        "ImageNet weights",
    ]
    assert found["python"] == platform.python_version()
    assert found["odml"] == __version__
    assert found["mlflow"] == version("mlflow")
    assert found["tracking store"] == f"sqlite:///{tracking_store}/mlflow.db"


def test_weights_are_told_with_their_folder(tracking_store, monkeypatch):
    monkeypatch.setenv("ODML_CACHE", f"{tracking_store}/cache")
    monkeypatch.setenv("KERAS_HOME", f"{tracking_store}/keras")
    for path in ("cache/ssd_mobilenet_v2_coco_2018_03_29.tar.gz", *(f"keras/models/{name}" for name in KERAS_FILES)):
        (tracking_store / path).parent.mkdir(parents=True, exist_ok=True)
        (tracking_store / path).touch()
    found = lines(CliRunner().invoke(check).stdout)
    assert found["COCO weights"] == (
        f"ssd_mobilenet_v2_coco_2018_03_29.tar.gz in {tracking_store}/cache; transfer_learn downloads what it needs"
        " there, or put it there: faster_rcnn_resnet50_coco_2018_01_28.tar.gz,"
        " faster_rcnn_resnet101_coco_2018_01_28.tar.gz"
    )
    assert found["ImageNet weights"] == f"{', '.join(KERAS_FILES)} in {tracking_store}/keras/models"


def test_store_that_does_not_answer_is_missing(tracking_store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = CliRunner().invoke(check)
    assert result.exit_code == 1
    assert lines(result.stdout)["tracking store"].startswith("MISSING: tracking store http://127.0.0.1:9: ")
