"""The training that evaluate and export_and_freeze build on."""

from __future__ import annotations

from pathlib import Path

from odml import checkpoints
from odml.tracking import Run


def fetch_training(run: Run, trained_model: str, step: str | int) -> Path:
    """Give a training's folder, with what ``checkpoints.load`` reads of one step; of the others not the weights.

    Raises:
        TrackingError: no training fits.
        CheckpointError: it has no such checkpoint.
    """
    folder = run.input(
        "trained_model",
        trained_model,
        operations=("transfer_learn", "train"),
        artifact="train",
        needed=lambda name: not checkpoints.holds_weights(name),
    )
    found = checkpoints.find_step(folder, step)
    run.download("trained_model", needed=lambda name: checkpoints.holds_weights(name, of=found))
    return folder
