"""The export folder as a whole.

frozen_inference_graph.pb           the detector in one file: pictures, or what the input type says, in, detections out
saved_model/                        the same as a SavedModel, with a signature for each input type (TensorFlow Serving)
model.ckpt.{data,index,meta}        its variables, and the graph that they belong to
checkpoint                          names model.ckpt
pipeline.config                     its configuration in the TF Object Detection API's words
labels.pbtxt                        the names of its classes
model.onnx                          the same as ONNX, if it was asked for
model.json                          its configuration in odml's words, its step, how it was checked
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

import odml
from odml import forms
from odml.config import Configuration, FasterRCNNConfiguration
from odml.errors import ExportError
from odml.export.formats import write_checkpoint, write_saved_model
from odml.export.freezing import INPUT, freeze, output_names, trace
from odml.export.inputs import take
from odml.export.parity import ANCHORS, PROPOSALS, Parity, check
from odml.export.pipeline_config import pipeline_config
from odml.structures import LabelMap


class Architecture(Protocol):
    """What an export needs of a network; every architecture has it."""

    name: str
    configuration: Configuration
    weights: Sequence[keras.Variable]

    def detect(self, images: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Give detections under the exported graph's names."""


def export(
    architecture: Architecture,
    folder: Path,
    *,
    label_map: LabelMap,
    step: int,
    input_type: str = INPUT,
    batches: Sequence[np.ndarray] | None = None,
) -> Parity:
    """Write the export folder of a trained network and check that the frozen graph gives what the network gives.

    The folder appears complete, or not at all.

    Args:
        folder: must not exist.
        input_type: what the frozen graph takes, one of ``inputs.INPUT_TYPES``.
        batches: what to check with, uint8 [N, H, W, 3] each; by default drawn pictures.
    Returns:
        What the check found.
    Raises:
        ExportError: the folder exists, or the graph differs from the network.
        ValueError: the network uses operations that cannot be exported.
    """
    if folder.exists():
        raise ExportError(f"{folder}: already exists; name a new folder, or remove it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        unfinished = Path(temporary) / folder.name
        unfinished.mkdir()
        _write_graphs(architecture, unfinished, input_type)
        parity = check_form(architecture, unfinished, forms.FORMS[forms.DEFAULT], batches)
        description = {"step": step, "input_type": input_type, "parity": asdict(parity)}
        _write_descriptions(architecture, unfinished, label_map=label_map, description=description)
        unfinished.rename(folder)
    return parity


def check_form(
    architecture: Architecture, folder: Path, form: forms.Form, batches: Sequence[np.ndarray] | None = None
) -> Parity:
    """Compare a form of an export folder with its network, row by row.

    Args:
        form: one that gives what the network gives before suppression.
        batches: as for ``export``.
    Raises:
        ExportError: they differ by more than rounding.
    """
    return check(
        form.file,
        form.read(folder / form.file),
        architecture.detect,
        batches or drawn_batches(),
        pairing=PROPOSALS if isinstance(architecture.configuration, FasterRCNNConfiguration) else ANCHORS,
    )


def describe(folder: Path, **more: Any) -> None:
    """Let ``model.json`` of an export folder say more."""
    path = folder / "model.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(description | more, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def drawn_batches() -> list[np.ndarray]:
    """Draw pictures to check a network with, always the same: two of one size in a batch, one of another."""
    random = np.random.default_rng(0)
    return [_draw(random, count=2, height=240, width=320), _draw(random, count=1, height=301, width=157)]


def _draw(random: np.random.Generator, *, count: int, height: int, width: int) -> np.ndarray:
    images = random.integers(0, 40, (count, height, width, 3), np.uint8)
    for image in images:
        for _ in range(8):
            top, left = random.integers(0, height - 30), random.integers(0, width - 30)
            bottom, right = random.integers(top + 20, height), random.integers(left + 20, width)
            image[top:bottom, left:right] += random.integers(0, 200, 3, np.uint8)
    return images


def _write_graphs(architecture: Architecture, folder: Path, input_type: str) -> None:
    function = trace(architecture.detect)
    graph = freeze(function)
    content = take(graph, input_type).SerializeToString(deterministic=True)
    (folder / "frozen_inference_graph.pb").write_bytes(content)
    write_saved_model(folder / "saved_model", graph, output_names(function), input_type=input_type)
    write_checkpoint(folder, function, _variable_names(architecture))


def _variable_names(architecture: Architecture) -> dict[int, str]:
    """Give each variable's path inside the network, as slim's checkpoints have it, by the id of its handle."""
    prefix = f"{architecture.name}/"
    return {id(weight.value.handle): weight.path.removeprefix(prefix) for weight in architecture.weights}


def _write_descriptions(
    architecture: Architecture, folder: Path, *, label_map: LabelMap, description: Mapping[str, Any]
) -> None:
    configuration = architecture.configuration
    (folder / "labels.pbtxt").write_text(label_map.to_pbtxt(), encoding="utf-8")
    (folder / "pipeline.config").write_text(pipeline_config(configuration, len(label_map)), encoding="utf-8")
    whole = {
        "odml_version": odml.__version__,
        "tensorflow_version": tf.__version__,
        "label_map": list(label_map.names),
        "frozen_graph_sha256": hashlib.sha256((folder / "frozen_inference_graph.pb").read_bytes()).hexdigest(),
        **description,
        "configuration": configuration.model_dump(mode="json"),
    }
    (folder / "model.json").write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
