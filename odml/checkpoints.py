"""Training checkpoints: the folder ``train/`` with ``model.ckpt-STEP.*``, ``checkpoint`` and ``model.json``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

import odml
from odml import config
from odml.architectures import Architecture, build, by_slim_name
from odml.errors import CheckpointError
from odml.structures import LabelMap

PREFIX = "model.ckpt"


class Checkpoints:
    """Saves a training's state into a folder, whole or not at all, and keeps the latest few.

    Args:
        folder: made if missing.
        model: its configuration and weights are saved.
        label_map: saved beside the weights.
        optimizer: built; its state is saved.
        keep: how many checkpoints stay; older ones are removed.
    """

    def __init__(
        self,
        folder: Path,
        model: Architecture,
        label_map: LabelMap,
        *,
        optimizer: keras.optimizers.Optimizer,
        keep: int = 5,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._model, self._label_map = folder, model, label_map
        self._manager = tf.train.CheckpointManager(
            # Given the model itself, TensorFlow would not look into its lists of layers.
            tf.train.Checkpoint(variables=by_slim_name(model.variables), optimizer=optimizer),
            str(folder),
            keep,
            checkpoint_name=PREFIX,
        )

    def save(self, step: int) -> None:
        """Write ``model.ckpt-STEP``; the file ``checkpoint`` names it only once it is complete.

        Until the first one the folder stays empty: a run without a checkpoint is nothing to build on.
        """
        _write_description(self._folder, self._model, self._label_map)
        self._manager.save(checkpoint_number=step)


def list_steps(folder: Path) -> list[int]:
    """List the steps of the complete checkpoints of a folder, ascending; empty if there are none."""
    matches = (
        re.fullmatch(rf"{re.escape(PREFIX)}-(\d+)\.index", path.name) for path in folder.glob(f"{PREFIX}-*.index")
    )
    return sorted(int(match[1]) for match in matches if match)


def load(folder: Path, step: int | None = None) -> tuple[Architecture, LabelMap, int]:
    """Rebuild the network of a folder with the weights of one of its checkpoints.

    Args:
        step: None for the latest.
    Returns:
        The network, its label map, and the step of the weights.
    Raises:
        CheckpointError: no checkpoint there, none of that step, or files that are damaged.
    """
    steps = list_steps(folder)
    if not steps:
        raise CheckpointError(f"{folder}: holds no checkpoint {PREFIX}-STEP.index; pass a training run or its train/")
    if step is not None and step not in steps:
        raise CheckpointError(f"{folder}: has no checkpoint of step {step}; it has {_enumerate(steps)}")
    step = steps[-1] if step is None else step
    model, label_map = _read_description(folder)
    restore(model, folder / f"{PREFIX}-{step}")
    return model, label_map, step


def restore(model: Architecture, path: Path) -> None:
    """Read a checkpoint's weights into a network; raise CheckpointError if it is damaged or of another network."""
    try:
        reader = tf.train.load_checkpoint(str(path))
        for name, variable in by_slim_name(model.variables).items():
            # TensorFlow's key for an entry of a dict; it writes a slash as ".S".
            value = reader.get_tensor(f"variables/{name.replace('/', '.S')}/.ATTRIBUTES/VARIABLE_VALUE")
            if value.shape != variable.shape:
                raise ValueError(f"{name} is {list(value.shape)} there and {list(variable.shape)} in the network")
            variable.assign(value)
    # Of a torn file TensorFlow tells by an IndexError.
    except (tf.errors.OpError, ValueError, IndexError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{path}: cannot be restored ({reason}); use another checkpoint") from None


def _enumerate(steps: Sequence[int]) -> str:
    return ", ".join(str(step) for step in steps)


def _write_description(folder: Path, model: Architecture, label_map: LabelMap) -> None:
    description = {
        "odml_version": odml.__version__,
        "label_map": list(label_map.names),
        "configuration": model.configuration.model_dump(mode="json"),
    }
    path = folder / "model.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)


def _read_description(folder: Path) -> tuple[Architecture, LabelMap]:
    path = folder / "model.json"
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        label_map = LabelMap(tuple(description["label_map"]))
        configuration = config.validate(description["configuration"], where=str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{path}: cannot be read ({reason}); it is written beside the checkpoints") from None
    return build(configuration, len(label_map)), label_map
