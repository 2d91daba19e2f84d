from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from entrypoints.command import Command
from entrypoints.options import (
    batch_size_option,
    configuration_of,
    gpus_option,
    model_option,
    print_config_option,
    seed_option,
    source_options,
)
from odml import config


def run(work, *arguments: str):
    command = click.command(cls=Command)(work)
    return CliRunner().invoke(command, list(arguments))


def test_what_was_not_given_has_a_value_of_its_own():
    given = []
    run(seed_option(gpus_option(lambda seed, gpus: given.append((seed, gpus)))))
    assert given == [(-1, "")]


def test_value_below_zero_is_no_option():
    given = []
    run(seed_option(lambda seed: given.append(seed)), "--seed", "-1")
    assert given == [-1]


def test_folder_that_is_not_there_is_refused_before_any_work():
    result = run(source_options(lambda images, annotations, dataset: None), "--images", "nowhere")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "Error: Invalid value for '--images': Directory 'nowhere' does not exist."


def test_option_that_nobody_declared_is_refused():
    result = run(lambda: None, "--foo", "1")
    assert result.exit_code == 2
    assert "No such option" in result.stderr


def test_help_names_the_models_that_come_with_odml():
    shown = run(model_option(lambda model: None), "--help").stdout
    named = " ".join(shown.split()).split("(", 1)[1].split(")", 1)[0]
    assert sorted(named.split(", ")) == config.shipped_models()


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("1", True)])
def test_switch_is_given_by_a_word_as_mlflow_does(text, value):
    given = []
    run(print_config_option(lambda print_config: given.append(print_config)), "--print-config", text)
    assert given == [value]


@pytest.mark.parametrize(("model", "batch_size"), [("ssd_mobilenet_v2", 8), ("faster_rcnn_resnet50", 1)])
def test_options_that_are_not_given_leave_the_model_as_it_is(model, batch_size):
    found = configuration_of(model=model, batch_size="", learning_rate=-1.0, checkpoint_every=-1)
    assert found == config.load(model)
    assert found.training.batch_size == batch_size


def test_options_that_are_given_change_the_model():
    found = configuration_of(model="ssd_mobilenet_v2", batch_size=3, learning_rate=0.5, checkpoint_every=7, seed=1)
    expected = {"batch_size": 3, "learning_rate": 0.5, "checkpoint_every": 7}
    assert found == config.load("ssd_mobilenet_v2").with_training(**expected)


@pytest.mark.parametrize(("text", "value"), [("", ""), ("auto", "auto"), ("12", 12), ("0", 0)])
def test_batch_size_is_a_number_or_a_word(text, value):
    given = []
    run(batch_size_option(lambda batch_size: given.append(batch_size)), "--batch-size", text)
    assert given == [value]


@pytest.mark.parametrize("text", ["many", "-1"])
def test_batch_size_that_is_neither(text):
    result = run(batch_size_option(lambda batch_size: None), "--batch-size", text)
    assert result.exit_code == 2
    assert f"'{text}' is not auto or the number of images in a step" in result.stderr


def test_batch_size_to_be_found_leaves_the_model_as_it_is():
    assert configuration_of(model="ssd_mobilenet_v2", batch_size="auto") == config.load("ssd_mobilenet_v2")
