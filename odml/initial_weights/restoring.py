"""Weights into a network, and the account of what was found for which of its variables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from odml.architectures import Architecture, by_slim_name
from odml.errors import WeightsError
from odml.initial_weights import published, sources
from odml.initial_weights.class_columns import (
    Classes,
    carry_over,
    count_classes,
    has_class_columns,
    match_classes,
)
from odml.initial_weights.sources import Source
from odml.structures import LabelMap

_MOST_SHOWN = 8


@dataclass(frozen=True)
class Restored:
    """What a network got.

    Attributes:
        source: the file or checkpoint.
        restored: how many variables have values of the source, those of ``partly`` among them.
        total: how many variables the network has.
        partly: of which variables some class columns are fresh; a class's box columns never are (``class_columns``).
        missing: which variables are fresh: the source does not have them, or in another shape.
        other_shape: those of ``missing`` that the source has, each with both shapes.
        classes: which classes the source has; None if it has no class columns.
    """

    source: str
    restored: int
    total: int
    partly: tuple[str, ...]
    missing: tuple[str, ...]
    other_shape: tuple[str, ...] = ()
    classes: Classes | None = None

    def summary(self) -> str:
        """Say it in a line for the log, in a few if something is fresh."""
        lines = [f"{self.source}: {self.restored} of {self.total} variables restored"]
        if self.partly and self.classes:
            lines.append(
                f"of them {len(self.partly)} partly: class columns carried over for {_list(self.classes.carried)}; "
                f"fresh for {_list(self.classes.fresh)}"
            )
        if self.classes and self.classes.assumption:
            lines.append(self.classes.assumption)
        if self.missing:
            lines.append(f"fresh: {_list(_by_scope(self.missing))}")
        if self.other_shape:
            lines.append(f"of another shape there: {len(self.other_shape)}, first {self.other_shape[0]}")
        return "\n".join(lines)


def load(model: Architecture, weights: str, label_map: LabelMap) -> Restored:
    """Give a network the weights that a training starts from.

    A class column is the source's where the source has a class of that name, upper or lower case, and stays fresh
    where it has not (``class_columns``); all else is taken where name and shape are the same.

    Args:
        model: gets the weights; what the source does not have stays as it is.
        weights: ``coco``: the detector that was released for this network in 2018; ``imagenet``: Keras' weights of
            its backbone; both are downloaded once. Or a path: a folder or tarball with a checkpoint, a checkpoint's
            prefix (of the TF Object Detection API, of slim, or of ``train``), a frozen graph, a Keras weights file.
        label_map: the classes of ``model``.
    Raises:
        WeightsError: no such file, a damaged one, one of another network, or a download that failed.
    """
    if weights in published.NAMES:
        source = sources.read(published.fetch(weights, model.configuration))
    else:
        source = sources.read(Path(weights).expanduser())
    variables = by_slim_name(model.variables)
    _refuse_other_network(source, variables, model)
    return _restore(source, variables, label_map)


def _refuse_other_network(source: Source, variables: Mapping[str, keras.Variable], model: Architecture) -> None:
    """Raise if a source has nothing of the backbone, or what fits does so by chance only."""
    backbone = {name for name in source.values if "FeatureExtractor/" in name}
    shared = [name for name in variables if name in backbone]
    if not shared:
        examples = sorted(backbone) or sorted(source.values)
        found = f"but {len(examples)} such as {examples[0]}" if examples else "nor of any network that is known here"
        raise WeightsError(
            f"{source.where}: fits nothing: it has no variables of {model.configuration.backbone} as "
            f"{model.configuration.architecture} has it, {found}; pass weights of this network"
        )
    differing = [name for name in shared if source.values[name].shape != tuple(variables[name].shape)]
    if len(differing) * 2 > len(shared):
        first = _shapes(differing[0], source, variables)
        raise WeightsError(
            f"{source.where}: fits nothing: {len(differing)} of {len(shared)} variables of the backbone have another "
            f"shape, first {first}; pass weights of a network of this width (SSD: depth_multiplier)"
        )


def _restore(source: Source, variables: Mapping[str, keras.Variable], label_map: LabelMap) -> Restored:
    count = count_classes(source.values)
    classes = match_classes(label_map, source.names, count) if count is not None else None
    heads = {name for name in variables if has_class_columns(name) and "/ClassPredictor/" in name}
    partly, missing, other_shape = [], [], []
    for name, variable in variables.items():
        value = _value_for(name, variable, source, classes)
        if value is None:
            missing.append(name)
            if name in source.values:
                other_shape.append(_shapes(name, source, variables))
            continue
        variable.assign(value)
        if classes and classes.fresh and name in heads:
            partly.append(name)
    return Restored(
        source.where,
        restored=len(variables) - len(missing),
        total=len(variables),
        partly=tuple(partly),
        missing=tuple(missing),
        other_shape=tuple(other_shape),
        classes=classes,
    )


def _value_for(name: str, variable: keras.Variable, source: Source, classes: Classes | None) -> np.ndarray | None:
    value = source.values.get(name)
    if value is not None and has_class_columns(name):
        value = carry_over(name, variable.numpy(), value, classes) if classes else None
    return value if value is not None and value.shape == tuple(variable.shape) else None


def _shapes(name: str, source: Source, variables: Mapping[str, keras.Variable]) -> str:
    return f"{name} {list(source.values[name].shape)} there, {list(variables[name].shape)} here"


def _by_scope(names: Sequence[str]) -> list[str]:
    """Count variables by layer, those that differ in their numbers together: ``BoxPredictor_*/ClassPredictor (12)``."""
    alike: dict[str, list[str]] = {}
    for name in names:
        layer = re.sub(r"(/BatchNorm)?/[^/]*$", "", name)
        alike.setdefault(re.sub(r"\d+", "*", layer), []).append(layer)
    return [f"{_join(layers)} ({len(layers)})" for layers in alike.values()]


def _join(layers: Sequence[str]) -> str:
    """Write an asterisk for each number that is not the same in all of them."""
    parts = zip(*(re.split(r"(\d+)", layer) for layer in layers), strict=True)
    return "".join(found[0] if len(set(found)) == 1 else "*" for found in parts)


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_SHOWN]) or "none"
    return shown + (f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else "")
