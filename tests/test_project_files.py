"""MLproject, the entry points and the lists of dependencies say the same."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml

ROOT = Path(__file__).parents[1]
ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
OPERATIONS = {
    "inspect",
    "prepare",
    "transfer_learn",
    "train",
    "evaluate",
    "export_and_freeze",
    "register",
    "serve",
    "compare",
    "lineage",
    "detect",
    "stop",
    "tensorboard",
    "check",
    "demo",
    "main",
}

SHOW_HELP = """
import importlib, sys
from click.testing import CliRunner
for name in sys.argv[1:]:
    command = getattr(importlib.import_module(f"entrypoints.{name}"), name)
    assert CliRunner().invoke(command, ["--help"]).exit_code == 0, name
    slow = sorted({"keras", "mlflow", "numpy", "tensorflow"} & set(sys.modules))
    assert not slow, f"{name} imports {slow}"
"""


def parameters_of(entry_point: str) -> dict[str, dict]:
    declared = ENTRY_POINTS[entry_point].get("parameters", {})
    return {name: {"type": value} if isinstance(value, str) else value for name, value in declared.items()}


def command_of(entry_point: str) -> click.Command:
    return getattr(importlib.import_module(f"entrypoints.{entry_point}"), entry_point)


def test_every_operation_is_an_entry_point():
    assert set(ENTRY_POINTS) == OPERATIONS


@pytest.mark.parametrize("entry_point", sorted(OPERATIONS))
def test_parameters_are_the_options_of_the_command(entry_point):
    assert set(parameters_of(entry_point)) == {option.name for option in command_of(entry_point).params}


@pytest.mark.parametrize("entry_point", sorted(OPERATIONS))
def test_defaults_are_those_of_the_command(entry_point):
    command = command_of(entry_point)
    context = click.Context(command)
    options = {option.name: option for option in command.params}
    for name, parameter in parameters_of(entry_point).items():
        option = options[name]
        assert option.required == ("default" not in parameter), name
        if not option.required:
            assert option.type_cast_value(context, str(parameter["default"])) == option.get_default(context), name


@pytest.mark.parametrize("entry_point", sorted(OPERATIONS))
def test_command_passes_each_parameter_bare_to_its_option(entry_point):
    # MLflow quotes each value for the shell; quotes around the braces would undo it and run what a value says.
    options = [f"--{name.replace('_', '-')} {{{name}}}" for name in parameters_of(entry_point)]
    command = ENTRY_POINTS[entry_point]["command"]
    module, *passed = re.split(r" (?=--)", command)
    assert module == f"python -m entrypoints.{entry_point}"
    assert sorted(passed) == sorted(options)


@pytest.mark.parametrize("entry_point", sorted(OPERATIONS))
def test_parameters_have_types_that_mlflow_passes_on_untouched(entry_point):
    assert {parameter["type"] for parameter in parameters_of(entry_point).values()} <= {"string", "int", "float"}


def test_help_imports_nothing_slow():
    command = [sys.executable, "-W", "ignore", "-c", SHOW_HELP, *sorted(OPERATIONS)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr


def test_conda_and_pyproject_list_the_same_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    assert conda == ["python=3.11", "pip", {"pip": project["dependencies"]}]


def test_everything_in_the_package_is_installed():
    found = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "odml").rglob("*.py")}
    without_init = {folder for folder in found if not (ROOT / folder / "__init__.py").is_file()}
    assert without_init == set()
