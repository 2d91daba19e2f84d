"""Weights that a training starts from: published ones, another framework's files, another run's detector."""

from odml.initial_weights.published import cached
from odml.initial_weights.restoring import Restored, load

__all__ = ["Restored", "cached", "load"]
