"""What an evaluation measures: a checkpoint, or any form of an export."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entrypoints.trained_model import fetch_training
from odml import checkpoints, config
from odml.errors import ExportError
from odml.forms import DEFAULT, FORMS, find_form, label_map_of
from odml.prediction import Predictor

if TYPE_CHECKING:
    from odml.config import Configuration
    from odml.structures import LabelMap
    from odml.tracking import Run

CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class Subject:
    """What is measured, and what its run and its report say of it.

    ``form`` is "checkpoint" or the name of a form, ``step`` 0 where nothing tells it, ``dataset`` the data that it was
    trained or exported with, as an input's value.
    """

    predictor: Predictor
    label_map: LabelMap
    model: str
    form: str
    step: int
    configuration: Configuration | None = None
    dataset: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    def describe(self, run: Run) -> None:
        """Let the run say what it measures."""
        run.tag_model(self.model)
        for name, value in (self.tags | {"odml.form": self.form}).items():
            run.tag(name, value)
        run.tag("odml.step", self.step)
        if self.configuration:
            run.log_parameters(self.configuration.model_dump(mode="json"))
            run.log_text(self.configuration.to_yaml(), "config.yml")


def checkpoint_subject(run: Run, trained_model: str, step: str | int) -> Subject:
    """Load a checkpoint.

    Raises:
        TrackingError: no training fits.
        CheckpointError: it has no such checkpoint, or cannot be read.
    """
    folder = fetch_training(run, trained_model, step)
    trained = run.input_tags("trained_model")
    network, label_map, found_step = checkpoints.load(folder, step)
    return Subject(
        Predictor.of_network(network),
        label_map,
        model=trained.get("odml.model", str(network.name)),
        form=CHECKPOINT,
        step=found_step,
        configuration=network.configuration,
        dataset=trained.get("odml.input.dataset", ""),
    )


def form_subject(run: Run, value: str) -> Subject:
    """Load a form of an export.

    Args:
        value: what the parameter ``model`` says; it is not empty.
    Raises:
        TrackingError: no export fits.
        ExportError: it does not have that form, or cannot be read.
    """
    source, name = _parts(value)
    folder = run.input("model", source, operations=("export_and_freeze",), artifact="graph")
    path = folder / (name or FORMS[DEFAULT].file)
    if not path.exists():
        there = [form.file for form in FORMS.values() if form.is_in(folder)]
        raise ExportError(f"{path}: is not there; this export has {', '.join(there) or 'nothing to evaluate'}")
    form = find_form(path)
    exported, description = run.input_tags("model"), _description(folder)
    configuration = description.get("configuration")
    return Subject(
        Predictor.of_form(form.read(path)),
        label_map_of(folder),
        model=exported.get("odml.model") or (configuration or {}).get("architecture", path.stem),
        form=form.name,
        step=int(description.get("step", 0)),
        configuration=config.restore(configuration, where=f"{folder}/model.json") if configuration else None,
        dataset=exported.get("odml.input.dataset", ""),
        tags={"odml.input.model.file": path.name},
    )


def _parts(value: str) -> tuple[str, str]:
    """Split an export's form into what says which export, and the name of the file or folder in it, "" for none."""
    path = Path(value)
    if path.is_file() or (path / "saved_model.pb").is_file():
        return str(path.parent), path.name
    head, _, name = value.rpartition("/")
    return (head, name) if name in {form.file for form in FORMS.values()} else (value, "")


def _description(folder: Path) -> dict[str, Any]:
    """Read ``model.json``, which the exports of other programs do not have."""
    path = folder / "model.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: cannot be read ({error}); export the detector again") from error
