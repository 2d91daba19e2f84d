from __future__ import annotations

import mlflow
import pytest

from odml.errors import TrackingError
from odml.tracking import logged_model, register_model, start_run


@pytest.fixture
def model(tracking_store) -> tuple[str, str]:
    """A run that has logged a model named "detector", and the model's URI."""
    with start_run("export_and_freeze") as run:
        model = mlflow.create_external_model(name="detector", source_run_id=run.id)
    return run.id, f"models:/{model.model_id}"


def test_logged_model_is_found_by_its_run_and_name(model):
    run_id, uri = model
    assert logged_model(run_id, "detector") == uri


def test_run_without_the_model_is_an_error(model):
    run_id, _ = model
    with pytest.raises(TrackingError) as error:
        logged_model(run_id, "other")
    expected = f"run {run_id}: has logged no model named other; give a run of export_and_freeze"
    assert str(error.value) == expected


def test_alias_moves_to_the_new_version_with_its_tags(model):
    _, uri = model
    assert register_model(uri, "detector", tags={"odml.model": "ssd"}, alias="champion") == "1"
    assert register_model(uri, "detector", tags={"odml.model": "ssd"}, alias="champion") == "2"
    champion = mlflow.MlflowClient().get_model_version_by_alias("detector", "champion")
    assert (int(champion.version), champion.tags["odml.model"]) == (2, "ssd")


def test_no_alias_leaves_the_old_one(model):
    _, uri = model
    register_model(uri, "detector", tags={}, alias="champion")
    register_model(uri, "detector", tags={})
    assert int(mlflow.MlflowClient().get_model_version_by_alias("detector", "champion").version) == 1


def test_name_that_the_registry_refuses_is_an_error(model):
    _, uri = model
    with pytest.raises(TrackingError, match=r"^model a/b: cannot be registered \(.*\)$"):
        register_model(uri, "a/b", tags={})
