from __future__ import annotations

import pytest

from odml.tracking.names import mlflow_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train/loss/total", "train/loss/total"),
        ("AP/Rote Blutkörperchen", "AP/Rote Blutkörperchen"),
        ("mAP@.5", "mAP:40:.5"),
        ("AP/c#", "AP/c:23:"),
        ("a:b", "a:3a:b"),
        ("AP//b", "AP/::/b"),
        ("/a", "::/a"),
        ("AP/..", "AP/:2e::2e:"),
        ("", "::"),
    ],
)
def test_name_is_spelled_in_mlflows_alphabet(name, expected):
    assert mlflow_name(name) == expected


def test_different_names_stay_different():
    names = ["a@b", "a:40:b", "a b", "a", "a/", "a//", "a/.", "a/:", "", ":", "::", "x" * 300, "x" * 301]
    assert len({mlflow_name(name) for name in names}) == len(names)


def test_long_name_is_cut_to_what_mlflow_takes():
    assert len(mlflow_name("x" * 300)) == 250


@pytest.mark.parametrize("name", ["mAP@.5", "AP//b", "/a", "AP/..", "..", "", "a\nb", "x" * 300, "a/./b", "naïve(1)"])
def test_mlflow_takes_the_name(name, tracking_store):
    import mlflow

    with mlflow.start_run() as run:
        mlflow.log_metric(mlflow_name(name), 1.0)
    assert list(mlflow.get_run(run.info.run_id).data.metrics) == [mlflow_name(name)]
