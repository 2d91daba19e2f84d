"""print_config shows what would be trained, and does nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner, Result

from entrypoints.main import main
from entrypoints.train import train
from entrypoints.transfer_learn import transfer_learn
from odml import config

ROOT = Path(__file__).parents[2]

PRINT = """
import importlib, sys
from click.testing import CliRunner
for name in ("train", "transfer_learn"):
    command = getattr(importlib.import_module(f"entrypoints.{name}"), name)
    result = CliRunner().invoke(command, ["--print-config", "true"])
    assert result.exit_code == 0, result.output
slow = sorted({"keras", "mlflow", "tensorflow"} & set(sys.modules))
assert not slow, f"{name} imports {slow}"
"""


def run(command, *options: str) -> Result:
    folders = ["--images", ".", "--annotations", "."] if command is main else []
    return CliRunner().invoke(command, [*folders, "--print-config", "true", *options])


@pytest.mark.parametrize("command", [train, transfer_learn, main])
@pytest.mark.parametrize("model", ["ssd_mobilenet_v2", "faster_rcnn_resnet101"])
def test_configuration_is_printed_and_nothing_else_happens(tracking_store, command, model):
    result = run(command, "--model", model, "--batch-size", "3")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == config.load(model).with_training(batch_size=3).to_yaml()
    assert mlflow.search_runs(experiment_names=["tests"], output_format="list") == []


def test_printed_configuration_has_what_a_file_and_the_options_change(tracking_store):
    Path("mine.yml").write_text(
        "extends: faster_rcnn_resnet50\nmin_side: 320\ntraining: {schedule: steps, decay_steps: [10]}\n"
    )
    result = run(transfer_learn, "--model", "mine.yml", "--learning-rate", "0.125", "--checkpoint-every", "5")
    Path("printed.yml").write_text(result.stdout)
    expected = config.load("mine.yml").with_training(learning_rate=0.125, checkpoint_every=5)
    assert config.load("printed.yml") == expected
    assert "\nmin_side: 320\n" in result.stdout
    assert "\n  decay_steps: [10]\n" in result.stdout


def test_configuration_that_is_not_allowed_is_one_line(tracking_store):
    Path("mine.yml").write_text("extends: faster_rcnn_resnet50\nmin_side: small\n")
    result = run(train, "--model", "mine.yml")
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "",
        "Error: mine.yml: min_side: Input should be a valid integer, unable to parse string as an integer "
        "(found 'small')\n",
    )


def test_printing_imports_nothing_slow():
    command = [sys.executable, "-W", "ignore", "-c", PRINT]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
