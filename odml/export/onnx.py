"""A trained network -> ``model.onnx`` for ONNX Runtime and what else reads ONNX; by tf2onnx (the extra ``odml[onnx]``).

The tensors have the names of the frozen graph's, ``:0`` included, as tf2onnx has always given them to graphs of the TF
Object Detection API; the batch and the size of the pictures stay open.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from odml.config import Configuration, SSDConfiguration
from odml.errors import ConfigurationError
from odml.export.freezing import INPUT, Detect, freeze, output_names, trace

_OPSET = 17  # of ONNX 1.12; ONNX Runtime has it since 2022
_PACKAGES = ("tf2onnx", "onnxruntime")


def require_onnx(configuration: Configuration) -> None:
    """Refuse a detector that tf2onnx cannot write, and where that, or what checks the file, is not installed.

    Raises:
        ConfigurationError: it is no SSD, or a package is missing.
    """
    if not isinstance(configuration, SSDConfiguration):
        raise ConfigurationError(
            f"onnx: tf2onnx cannot write the suppression of {configuration.architecture}, which has boxes of each "
            "class; train an SSD, or leave onnx as it is by default"
        )
    if missing := [name for name in _PACKAGES if not importlib.util.find_spec(name)]:
        raise ConfigurationError(
            f"onnx: needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed; "
            "pip install 'odml[onnx]'"
        )


def write_onnx(detect: Detect, path: Path) -> None:
    """Write a network as an ONNX file that takes uint8 pictures [N, H, W, 3].

    Args:
        detect: a network's.
    """
    import tf2onnx

    function = trace(detect)
    outputs = [f"{name}:0" for name in output_names(function)]
    with _quietly():
        tf2onnx.convert.from_graph_def(
            freeze(function), input_names=[f"{INPUT}:0"], output_names=outputs, opset=_OPSET, output_path=str(path)
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Hide what is said of tf2onnx's own use of TensorFlow and numpy."""
    logger = logging.getLogger("tensorflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
