from __future__ import annotations

import mlflow
import pytest

from odml.errors import TrackingError
from odml.tracking import (
    add_version,
    describe_version,
    drop_alias,
    find_version,
    logged_model,
    move_alias,
    start_run,
)
from odml.tracking.registry import version_of


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


def new_model() -> str:
    return f"models:/{mlflow.create_external_model(name='detector').model_id}"


def test_each_model_is_a_version_with_its_tags(model):
    _, uri = model
    assert add_version(uri, "detector", tags={"odml.model": "ssd"}) == "1"
    assert add_version(new_model(), "detector", tags={"odml.model": "other"}) == "2"
    first = version_of("models:/detector/1")
    assert first
    assert (first.number, first.source, first.tags, first.aliases) == ("1", uri, {"odml.model": "ssd"}, ())


def test_model_that_is_a_version_already_stays_that_one_with_new_tags(model):
    _, uri = model
    add_version(uri, "detector", tags={"odml.model": "ssd", "odml.mAP": "0.1"})
    add_version(new_model(), "detector", tags={})
    assert add_version(uri, "detector", tags={"odml.mAP": "0.2"}) == "1"
    assert version_of("models:/detector/1").tags == {"odml.model": "ssd", "odml.mAP": "0.2"}
    # Under another name it is another version.
    assert add_version(uri, "other", tags={}) == "1"


def test_alias_moves_and_can_be_dropped(model):
    _, uri = model
    assert find_version("detector", "champion") is None
    add_version(uri, "detector", tags={})
    add_version(new_model(), "detector", tags={})
    assert find_version("detector", "champion") is None
    for number in ("1", "2"):
        move_alias("detector", "champion", number)
        assert find_version("detector", "champion").number == number
    assert version_of("models:/detector@champion").aliases == ("champion",)
    drop_alias("detector", "champion")
    assert find_version("detector", "champion") is None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("short\n", "short\n"),
        ("x" * 5000, "x" * 5000),
        ("line of ten\n" * 417, "line of ten\n" * 415 + "line of ten\n\n…"),
    ],
)
def test_description_is_cut_after_a_line_to_what_the_registry_takes(model, text, kept):
    _, uri = model
    add_version(uri, "detector", tags={})
    describe_version("detector", "1", tags={"odml.gate": "first"}, description=text)
    found = mlflow.MlflowClient().get_model_version("detector", "1")
    assert (found.description, found.tags) == (kept, {"odml.gate": "first"})


def test_logged_model_is_no_version(model):
    _, uri = model
    assert version_of(uri) is None


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/", "models:/: is no model; write models:/NAME/VERSION or models:/NAME@ALIAS"),
        ("models:/none@champion", "models:/none@champion: cannot be found ("),
        ("models:/none/7", "models:/none/7: cannot be found ("),
    ],
)
def test_version_that_is_not_there(tracking_store, uri, message):
    with pytest.raises(TrackingError) as error:
        version_of(uri)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("name", ["a/b", "a:b"])
def test_name_that_the_registry_refuses_is_an_error(model, name):
    _, uri = model
    with pytest.raises(TrackingError, match=rf"^model {name}: cannot be registered \(.*\)$"):
        add_version(uri, name, tags={})


def test_alias_that_the_registry_refuses_is_an_error(model):
    _, uri = model
    add_version(uri, "detector", tags={})
    with pytest.raises(TrackingError, match=r"^model detector: cannot be registered \(.*\)$"):
        move_alias("detector", "the best", "1")
