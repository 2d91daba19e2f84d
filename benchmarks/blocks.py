"""What a network's blocks give while it runs: enough of it to find the first layer that differs from another's."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

_OPERATION = re.compile(r"/(Relu6?|output|expansion_output)$")


@dataclass(frozen=True)
class Block:
    """A block's output [B, h, w, c]: its shape, mean, deviation, maximum, sum of magnitudes, and two positions.

    ``center`` and ``corner`` [B, 8] are the first channels in the middle and at the bottom right.
    """

    shape: tuple[int, ...]
    statistics: tuple[float, float, float, float]
    greatest: float
    center: np.ndarray
    corner: np.ndarray

    @classmethod
    def of(cls, features: Any) -> Block:
        """Summarise features [B, h, w, c]."""
        x = np.asarray(features, np.float64)
        magnitudes = np.abs(x)
        return cls(
            shape=x.shape,
            statistics=(x.mean(), x.std(), x.max(), magnitudes.sum()),
            greatest=float(magnitudes.max()) or 1.0,
            center=x[:, x.shape[1] // 2, x.shape[2] // 2, :8],
            corner=x[:, -1, -1, :8],
        )


class Blocks(dict[str, Block]):
    """The blocks of one run by their layers' scopes; asked for by the original's names of its operations."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(self._key(str(name)))

    def __getitem__(self, name: str) -> Block:
        return super().__getitem__(self._key(name))

    @staticmethod
    def _key(name: str) -> str:
        # The original's graph repeats a backbone's scope, its checkpoint does not.
        name = re.sub(r"([^/]+)/\1/", r"\1/", name)
        return name if name.endswith("/expansion_output") else _OPERATION.sub("", name)


@contextmanager
def record_blocks(network: keras.Model) -> Iterator[Blocks]:
    """Record, while a network runs eagerly, what each of its layers with weights of their own gives."""
    blocks = Blocks()
    layers: dict[str, keras.layers.Layer] = {}
    for layer in network._flatten_layers():
        scope = _scope(layer).removeprefix(f"{network.name}/")
        if layer is not network and "/" in scope:
            layers.setdefault(scope, layer)
    for scope, layer in layers.items():
        layer.call = _recording(layer.call, scope, blocks)
    try:
        yield blocks
    finally:
        for layer in layers.values():
            del layer.call


def _scope(layer: keras.layers.Layer) -> str:
    paths = [weight.path for weight in layer.weights]
    return os.path.commonpath(paths) if paths else ""


def _recording(call: Callable[..., Any], scope: str, blocks: Blocks) -> Callable[..., Any]:
    def recorded(*arguments: Any, **options: Any) -> Any:
        outputs = call(*arguments, **options)
        output, *others = outputs if isinstance(outputs, tuple) else (outputs,)
        if getattr(output, "ndim", None) == 4:
            blocks[scope] = Block.of(output)
            if len(others) == 1:
                blocks[f"{scope}/expansion_output"] = Block.of(others[0])
        return outputs

    return recorded
