"""What a training needs to know: all of it in its checkpoints, to go on from, and the same in all workers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from odml import config, training
from odml.config import Configuration
from odml.config import Training as Recipe


@dataclass(frozen=True)
class Settings:
    """What a training needs to know, beside its model's configuration, to go on where it was.

    ``train_steps`` and ``patience`` are None where nothing but a request ends it; ``eval_examples`` -1 is all.
    """

    seed: int
    train_steps: int | None
    eval_every: int
    eval_examples: int
    patience: int | None
    frozen_blocks: int

    def plan(self, recipe: Recipe) -> training.Plan:
        """Say when what happens; raise ConfigurationError if a number is below 1."""
        return training.Plan(
            steps=self.train_steps,
            checkpoint_every=recipe.checkpoint_every,
            eval_every=self.eval_every,
            patience=self.patience,
        )

    def changed(self, *, train_steps: int, eval_every: int, eval_examples: int, patience: int) -> Settings:
        """Give the settings with those parameters that are given."""
        changes = {"train_steps": train_steps, "eval_every": eval_every, "eval_examples": eval_examples}
        return Settings(
            **asdict(self)
            | {name: value for name, value in changes.items() if value >= 0}
            | ({"patience": patience or None} if patience >= 0 else {})
        )


@dataclass(frozen=True)
class Job:
    """What all workers of a training must know alike.

    Attributes:
        dataset: the run or the folder that the records are in.
        digest: of their content.
        start: the step to go on from, 0 for a new training.
    """

    configuration: Configuration
    settings: Settings
    dataset: str
    digest: str
    start: int = 0

    def to_json(self) -> str:
        """Write it for the other workers."""
        return json.dumps(asdict(self) | {"configuration": self.configuration.model_dump(mode="json")})

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Read what the chief has written."""
        data = json.loads(text)
        parts = {
            "configuration": config.validate(data["configuration"], where="the chief's configuration"),
            "settings": Settings(**data["settings"]),
        }
        return cls(**data | parts)
