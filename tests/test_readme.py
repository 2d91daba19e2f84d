"""README names every operation and parameter, and no other."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from odml import config
from odml.config import SSDConfiguration
from odml.errors import ConfigurationError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]


def shown_default(declared) -> str:
    """Give a parameter's default as the table shows it."""
    if isinstance(declared, str):
        return "required"
    return str(declared["default"]) if declared["default"] != "" else ""


def rows_of(operation: str) -> dict[str, str]:
    """Give the parameters and defaults of an operation's rows in the table."""
    section = README.split(f"**{operation}**", 1)[1].split("\n\n**", 1)[0].split("\n## ", 1)[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) ?\|", section, re.MULTILINE))


@pytest.mark.parametrize("operation", ENTRY_POINTS)
def test_table_has_the_parameters_of(operation):
    declared = ENTRY_POINTS[operation].get("parameters", {})
    assert rows_of(operation) == {name: shown_default(value) for name, value in declared.items()}


@pytest.mark.parametrize("command", sorted(set(re.findall(r"mlflow run \. .*", README))))
def test_command_names_an_operation_and_its_parameters(command):
    operation = (re.findall(r"-e (\w+)", command) or ["main"])[0]
    if operation == "NAME":
        return
    assert set(re.findall(r"-P (\w+)=", command)) <= set(ENTRY_POINTS[operation].get("parameters", {}))
    assert "--env-manager" in command


def test_model_file_is_one_that_can_be_trained(tmp_path):
    (lines,) = re.findall(r"(?:^    .*\n)*^    extends: .*\n(?:^    .*\n)*", README, re.MULTILINE)
    path = tmp_path / "mine.yml"
    path.write_text(textwrap.dedent(lines))
    mine = config.load(str(path))
    assert isinstance(mine, SSDConfiguration)
    assert (mine.image_size, mine.anchors.min_scale, mine.training.schedule) == ((512, 512), 0.1, "steps")
    path.write_text(path.read_text().replace("aspect_ratios", "ratios"))
    with pytest.raises(ConfigurationError) as raised:
        config.load(str(path))
    assert f"    Error: {raised.value}\n".replace(str(path), "/data/mine.yml") in README


def test_table_has_the_models_that_come_with_odml():
    section = README.split("\n## Models and their configuration\n", 1)[1].split("\n## ", 1)[0]
    assert sorted(re.findall(r"^\| `((?:ssd|faster)\w+)` \|", section, re.MULTILINE)) == config.shipped_models()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake (\w+)", README))))
def test_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
