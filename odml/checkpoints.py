"""Training checkpoints: the folder ``train/``.

``model.ckpt-STEP.*``  the weights after a step, and what else going on from there takes
``checkpoint``          names the latest one and the others that are kept
``model.json``          the network's configuration, its classes, and the training's settings
``scores.json``         what the evaluations gave

A checkpoint is there once its ``.index`` is: the files are written aside and moved into place, that one last. A process
that is killed while it writes leaves the checkpoints before untouched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import keras
import tensorflow as tf

import odml
from odml import config
from odml.architectures import Architecture, build, by_slim_name
from odml.config import Configuration
from odml.errors import CheckpointError
from odml.structures import LabelMap
from odml.weight_averages import WeightAverages

PREFIX = "model.ckpt"
BEST, LATEST = "best", "latest"

_PARTIAL = ".partial"  # where files are written before they are moved
_SCORES = "scores.json"

_Parsed = TypeVar("_Parsed")


class Checkpoints:
    """Saves a training's state into a folder, whole or not at all, and keeps the latest few and the best.

    Args:
        folder: made if missing.
        model: its configuration and weights are saved.
        label_map: saved beside the weights.
        optimizer: built; its state is saved.
        averages: of the model's weights; with them they are what others read of a checkpoint.
        settings: plain data that ``read_settings`` gives to who goes on with the training.
        keep: how many of the latest checkpoints stay, at least 1; the best one stays beside them.
        on_change: called after every change of the folder.
    Raises:
        CheckpointError: the folder has scores already, and they cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        model: Architecture,
        label_map: LabelMap,
        *,
        optimizer: keras.optimizers.Optimizer,
        averages: WeightAverages | None = None,
        settings: Mapping[str, Any] | None = None,
        keep: int = 5,
        on_change: Callable[[], None] = lambda: None,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self._on_change, self._settings = on_change, dict(settings or {})
        self.scores = read_scores(folder)
        self._folder, self._model, self._label_map, self._keep = folder, model, label_map, keep
        # Given the model itself, TensorFlow would not look into its lists of layers.
        weights = by_slim_name(model.variables)
        state = {"variables": averages.variables, "unaveraged": weights} if averages else {"variables": weights}
        self._state = tf.train.Checkpoint(**state, optimizer=optimizer)

    @property
    def evaluations_without_gain(self) -> int:
        """How many evaluations there were since the best one."""
        return sum(step > best_step(self.scores) for step in self.scores) if self.scores else 0

    def save(self, step: int) -> None:
        """Write ``model.ckpt-STEP``; the file ``checkpoint`` names it only once it is complete.

        Until the first one the folder stays empty: a run without a checkpoint is nothing to build on.

        Raises:
            CheckpointError: it cannot be written, for instance to a full disk, not even in the place of all checkpoints
                but the latest and the best; these stay.
        """
        try:
            try:
                self._write(step)
            except (tf.errors.OpError, OSError):
                # On a full disk a fresh checkpoint is worth more than old ones.
                if not self._prune(keep=1):
                    raise
                self._write(step)
            self._prune(keep=self._keep)
        except (tf.errors.OpError, OSError) as error:
            raise CheckpointError(
                f"{self._folder}: the checkpoint of step {step} cannot be written ({_reason(error)}); make room there"
            ) from None
        self._on_change()

    def add_score(self, step: int, score: float) -> None:
        """Note what an evaluation of a step gave, higher is better; of equal ones the first is the best.

        Raises:
            CheckpointError: it cannot be written; the score counts nevertheless.
        """
        self.scores[step] = score
        try:
            _write(self._folder / _SCORES, json.dumps(self.scores, indent=2))
        except OSError as error:
            raise CheckpointError(f"{self._folder / _SCORES}: cannot be written ({error.strerror})") from None
        self._on_change()

    def restore(self) -> int:
        """Bring model, optimizer and averages to the latest checkpoint, and forget the scores after it; give its step.

        Raises:
            CheckpointError: there is none, it is damaged, or it is of another network.
        """
        step = find_step(self._folder, LATEST)
        path = self._folder / f"{PREFIX}-{step}"
        try:
            self._state.read(str(path)).assert_existing_objects_matched()
        except (tf.errors.OpError, ValueError, IndexError, AssertionError) as error:
            raise _unusable(path, error) from None
        self.scores = {each: score for each, score in self.scores.items() if each <= step}
        return step

    def _write(self, step: int) -> None:
        partial = self._folder / _PARTIAL
        try:
            shutil.rmtree(partial, ignore_errors=True)
            _write_description(self._folder, self._model, self._label_map, self._settings)
            self._state.write(str(partial / f"{PREFIX}-{step}"))
            for path in sorted(partial.glob(f"{PREFIX}-{step}.*"), key=lambda path: path.suffix == ".index"):
                os.replace(path, self._folder / path.name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _prune(self, *, keep: int) -> bool:
        """Remove what is not of the latest few checkpoints or the best, and say in ``checkpoint`` which there are.

        Returns whether there was something to remove.
        """
        steps = list_steps(self._folder)
        kept = {*steps[-keep:], *([best_step(self.scores)] if self.scores else [])}
        old = []
        for path in sorted(self._folder.glob(f"{PREFIX}-*"), key=lambda path: path.suffix != ".index"):
            match = re.match(rf"{re.escape(PREFIX)}-(\d+)\.", path.name)
            if match and int(match[1]) not in kept:
                old.append(path)
        for path in old:
            path.unlink()
        if steps:
            paths = [f"{PREFIX}-{step}" for step in steps if step in kept]
            state = tf.compat.v1.train.generate_checkpoint_state_proto(str(self._folder), paths[-1], paths)
            _write(self._folder / "checkpoint", str(state).rstrip())
        return bool(old)


def list_steps(folder: Path) -> list[int]:
    """List the steps of the complete checkpoints of a folder, ascending; empty if there are none."""
    matches = (
        re.fullmatch(rf"{re.escape(PREFIX)}-(\d+)\.index", path.name) for path in folder.glob(f"{PREFIX}-*.index")
    )
    return sorted(int(match[1]) for match in matches if match)


def read_scores(folder: Path) -> dict[int, float]:
    """Read what training's evaluations gave, by step, ascending; empty if there was none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / _SCORES
    try:
        scores = {int(step): float(score) for step, score in json.loads(path.read_text(encoding="utf-8")).items()}
        return dict(sorted(scores.items()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({_reason(error)}); remove it, or name a step") from None


def best_step(scores: Mapping[int, float]) -> int:
    """Give the step of the highest score, the first of equal ones; there is at least one score."""
    return max(sorted(scores), key=lambda step: scores[step])


def find_step(folder: Path, wanted: str | int) -> int:
    """Find a checkpoint of a folder.

    Args:
        wanted: a step; "latest"; or "best", the one of the highest score, and the latest where nothing was evaluated.
    Raises:
        CheckpointError: no checkpoint there, none of that step, or "best" is not among them.
    """
    steps = list_steps(folder)
    if not steps:
        raise CheckpointError(f"{folder}: holds no checkpoint {PREFIX}-STEP.index; pass a training run or its train/")
    scores = read_scores(folder) if wanted == BEST else {}
    if wanted == LATEST or (wanted == BEST and not scores):
        return steps[-1]
    step = best_step(scores) if wanted == BEST else wanted
    if step not in steps:
        raise CheckpointError(f"{folder}: has no checkpoint of step {step}; it has {_enumerate(steps)}")
    return int(step)


def holds_weights(name: str, *, of: int | None = None) -> bool:
    """Say by its name whether a file of the folder holds weights, those of a step if one is given.

    All others are small, and ``find_step`` needs them.
    """
    return name.startswith(f"{PREFIX}-" if of is None else f"{PREFIX}-{of}.") and ".data-" in name


def load(folder: Path, wanted: str | int = BEST) -> tuple[Architecture, LabelMap, int]:
    """Rebuild the network of a folder with the weights of one of its checkpoints, averaged where training averaged.

    Args:
        wanted: "best", "latest" or a step, as ``find_step`` takes it.
    Returns:
        The network, its label map, and the step of the weights.
    Raises:
        CheckpointError: no such checkpoint, or files that are damaged.
    """
    step = find_step(folder, wanted)
    model, label_map = rebuild(folder)
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
        raise _unusable(path, error) from None


def _unusable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: cannot be restored ({_reason(error)}); use another checkpoint")


def _reason(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else getattr(error, "message", None)
    # TensorFlow begins by naming the operation, {{function_node ...}}.
    return re.sub(r"^\{\{.*?\}\} ", "", (reason or str(error) or type(error).__name__).strip().splitlines()[0])


def _enumerate(steps: Sequence[int]) -> str:
    return ", ".join(str(step) for step in steps)


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_description(folder: Path, model: Architecture, label_map: LabelMap, settings: Mapping[str, Any]) -> None:
    description = {
        "odml_version": odml.__version__,
        "label_map": list(label_map.names),
        "configuration": model.configuration.model_dump(mode="json"),
        "training": settings,
    }
    _write(folder / "model.json", json.dumps(description, indent=2, ensure_ascii=False))


def rebuild(folder: Path) -> tuple[Architecture, LabelMap]:
    """Build the network that a folder's checkpoints are of, with fresh weights, and give its label map.

    Raises:
        CheckpointError: model.json cannot be read.
    """
    configuration, label_map = read_model(folder)
    return build(configuration, len(label_map)), label_map


def read_model(folder: Path) -> tuple[Configuration, LabelMap]:
    """Read the configuration and the label map of the network that a folder's checkpoints are of.

    Raises:
        CheckpointError: model.json cannot be read.
    """

    def parse(description: dict[str, Any], path: Path) -> tuple[Configuration, LabelMap]:
        names = LabelMap(tuple(description["label_map"]))
        return config.restore(description["configuration"], where=str(path)), names

    return _read_description(folder, parse)


def read_settings(folder: Path) -> dict[str, Any]:
    """Read the settings that ``Checkpoints`` was given.

    Raises:
        CheckpointError: model.json cannot be read, or has none.
    """
    return _read_description(folder, lambda description, path: dict(description["training"]))


def _read_description(folder: Path, parse: Callable[[dict[str, Any], Path], _Parsed]) -> _Parsed:
    path = folder / "model.json"
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")), path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{path}: cannot be read ({reason}); it is written beside the checkpoints") from None
