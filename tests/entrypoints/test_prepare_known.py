"""prepare of a data set that is known by name, in place of folders."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner, Result

from entrypoints.options import KNOWN_DATASETS
from entrypoints.prepare import prepare
from odml import known_datasets
from odml.known_datasets import known


@pytest.fixture(autouse=True)
def cache(tracking_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ODML_CACHE", str(tracking_store / "cache"))
    return tracking_store / "cache"


def run(*options: str) -> Result:
    return CliRunner().invoke(prepare, options)


def test_options_name_the_data_sets_that_are_known():
    assert KNOWN_DATASETS == known_datasets.NAMES


def test_shapes_are_drawn_and_prepared(monkeypatch):
    monkeypatch.setattr(known, "_SHAPES", 12)
    result = run("--images", "", "--annotations", "", "--dataset", "shapes", "--val-split", "25", "--seed", "1")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("9 training and 3 validation images with ")
    (done,) = mlflow.search_runs(experiment_names=["tests"], output_format="list")
    assert [used.dataset.name for used in done.inputs.dataset_inputs] == ["shapes"]


def test_no_network_is_told_in_one_line_and_by_the_run(cache, monkeypatch):
    nowhere = known.Published("http://127.0.0.1:1/kit.tar", "0" * 64)
    monkeypatch.setitem(known._KNOWN, "voc2008", known.KnownDataset("a", "b", (nowhere,)))
    result = run("--dataset", "voc2008")
    message = (
        f"dataset=voc2008: {nowhere.address}: cannot be downloaded into {cache}/voc2008 (Connection refused); put "
        f"{nowhere.address} there as {cache}/voc2008/kit.tar, or give images and annotations"
    )
    assert (result.exit_code, result.stderr) == (1, f"Error: {message}\n")
    (failed,) = mlflow.search_runs(experiment_names=["tests"], output_format="list")
    assert (failed.info.status, failed.data.tags["odml.error"]) == ("FAILED", message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            (),
            "images and annotations not given; give images and annotations, or dataset (voc2008, oxford_pets, shapes)",
        ),
        (
            ("--images", "."),
            "annotations not given; give images and annotations, or dataset (voc2008, oxford_pets, shapes)",
        ),
        (
            ("--images", ".", "--dataset", "shapes"),
            "dataset=shapes has its own images and annotations; give these, or dataset",
        ),
    ],
)
def test_either_folders_or_a_name_are_given(options, message):
    result = run(*options)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"Error: {message}"


def test_unknown_data_set_is_told_with_those_that_are_known():
    result = run("--dataset", "coco")
    assert result.exit_code == 2
    assert "'coco' is not one of '', 'voc2008', 'oxford_pets', 'shapes'" in result.stderr
