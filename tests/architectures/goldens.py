"""The reference outputs of the TF Object Detection API's networks, and the rule that made their weights."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from odml.architectures import Architecture, by_slim_name
from tests.conftest import SHARED

GOLDEN = SHARED / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="needs the reference data in ../shared")


def load_rule() -> ModuleType:
    """Import the rule: ``value(name, shape)`` makes a variable, ``image(height, width)`` a picture."""
    spec = importlib.util.spec_from_file_location("weights_rule", GOLDEN / "weights_rule.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assign_by_rule(network: Architecture, rule: ModuleType) -> None:
    """Give a network the weights of its golden."""
    for name, variable in by_slim_name(network.variables).items():
        variable.assign(rule.value(name, variable.shape))
