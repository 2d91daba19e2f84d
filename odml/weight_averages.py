"""Moving averages of a network's weights while it is trained: they score higher than the weights of any one step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from odml.architectures import Architecture, by_slim_name


class WeightAverages:
    """Exponential moving averages of a network's variables (Polyak and Juditsky 1992), normalisation's among them.

    Each replica averages what it has itself; only of the moving statistics of normalisation that differs.

    Args:
        decay: 0 to 1, how much of the average a step keeps. Of step n, counted from 0, it keeps at most
            (1 + n) / (10 + n), so that early weights are soon forgotten (``tf.train.ExponentialMovingAverage``).
    """

    def __init__(self, model: Architecture, decay: float):
        self._decay = decay
        self._averaged = by_slim_name(model.variables)
        self.variables = {
            name: tf.Variable(variable.value, trainable=False, name="average")
            for name, variable in self._averaged.items()
        }

    def update(self, step: tf.Tensor) -> None:
        """Take the weights after a step, counted from 0, into the averages; works inside a ``tf.function``."""
        step = tf.cast(step, tf.float32)
        decay = tf.minimum(self._decay, (1.0 + step) / (10.0 + step))
        for name, variable in self._averaged.items():
            average = self.variables[name]
            average.assign_sub((1.0 - decay) * (average - variable.value))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network have the averages for its weights inside the block."""
        weights = {name: tf.identity(variable.value) for name, variable in self._averaged.items()}
        try:
            for name, variable in self._averaged.items():
                variable.assign(self.variables[name])
            yield
        finally:
            for name, variable in self._averaged.items():
                variable.assign(weights[name])
