from __future__ import annotations

import os

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from odml.tracking.stores import prepare_client, shown, unreachable

PASSWORD = "s3cret@word/"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("TRACKING_URI", "REGISTRY_URI", "TRACKING_USERNAME", "TRACKING_PASSWORD"):
        # So that what is set here is gone afterwards.
        monkeypatch.setenv(f"MLFLOW_{name}", "")
        monkeypatch.delenv(f"MLFLOW_{name}")
    return monkeypatch


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://me:word@host:5000/mlflow", "http://host:5000/mlflow"),
        ("https://me@host", "https://host"),
        ("http://host:5000", "http://host:5000"),
        ("postgresql://me:w%40rd@db:5432/mlflow?password=word", "postgresql://db:5432/mlflow"),
        ("sqlite:////data/a@b.db", "sqlite:////data/a@b.db"),
        ("databricks", "databricks"),
    ],
)
def test_printed_address_has_no_password(uri, expected):
    assert shown(uri) == expected


def test_user_and_password_leave_the_address_for_where_mlflow_looks_too(environment):
    environment.setenv("MLFLOW_TRACKING_URI", "http://me:s3cret%40word%2F@host:5000")
    environment.setenv("MLFLOW_REGISTRY_URI", "http://me:other@registry")
    prepare_client()
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://host:5000"
    assert os.environ["MLFLOW_REGISTRY_URI"] == "http://registry"
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("me", PASSWORD)


def test_variables_win_over_the_address_as_they_do_in_mlflow(environment):
    environment.setenv("MLFLOW_TRACKING_URI", "http://me:word@host")
    environment.setenv("MLFLOW_TRACKING_USERNAME", "you")
    environment.setenv("MLFLOW_TRACKING_PASSWORD", "yours")
    prepare_client()
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("you", "yours")


def test_password_of_a_database_stays_where_it_is_needed(environment):
    environment.setenv("MLFLOW_TRACKING_URI", "postgresql://me:word@db/mlflow")
    prepare_client()
    assert os.environ["MLFLOW_TRACKING_URI"] == "postgresql://me:word@db/mlflow"
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            MlflowException("API request to endpoint /x failed with error code 401 != 200. Response body: 'no'"),
            "does not know this user and password; check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        ),
        (
            MlflowException("Permission denied", error_code=PERMISSION_DENIED),
            "this user is not allowed to do that here; ask who runs the server",
        ),
        (MlflowException("is down\nmore"), "is down; check MLFLOW_TRACKING_URI and the server"),
    ],
)
def test_store_that_cannot_be_used_says_why_without_its_password(error, message):
    assert str(unreachable("tracking store", "http://me:word@host", error)) == f"tracking store http://host: {message}"
