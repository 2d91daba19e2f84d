"""A detector's configuration: what a network is made of and how it is trained, as validated data."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from odml.errors import ConfigurationError

_Fraction = Annotated[float, pydantic.Field(ge=0, le=1)]
_Scale = Annotated[float, pydantic.Field(gt=0, le=1)]
_Side = Annotated[int, pydantic.Field(ge=32, le=4096)]


class _Section(pydantic.BaseModel):
    """Data that cannot be changed and knows all of its keys."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class BatchNorm(_Section):
    """Momentum of the moving statistics and the number added to the variance."""

    momentum: _Fraction
    epsilon: pydantic.PositiveFloat


class Anchors(_Section):
    """SSD's anchors: scales spread from ``min_scale`` to ``max_scale`` of the shorter side (paper, 2.2)."""

    min_scale: _Scale
    max_scale: _Scale
    aspect_ratios: Annotated[tuple[pydantic.PositiveFloat, ...], pydantic.Field(min_length=1)]
    reduce_boxes_in_lowest_layer: bool


class Matching(_Section):
    """IoU from which an anchor stands for an object."""

    threshold: _Fraction


class Losses(_Section):
    """Weights of the losses, and how many background anchors take part (hard negative mining)."""

    classification_weight: pydantic.NonNegativeFloat
    localization_weight: pydantic.NonNegativeFloat
    negatives_per_positive: pydantic.PositiveFloat
    min_negatives: pydantic.NonNegativeInt


class Detection(_Section):
    """Thresholds and limits of non-maximum suppression."""

    score_threshold: _Fraction
    iou_threshold: _Fraction
    max_detections_per_class: pydantic.PositiveInt
    max_detections: pydantic.PositiveInt


class Augmentation(_Section):
    """Which random changes a training picture undergoes."""

    horizontal_flip: bool
    random_crop: bool
    random_color: bool


class Training(_Section):
    """The recipe: optimizer, rates and augmentation."""

    batch_size: pydantic.PositiveInt
    optimizer: Literal["sgd", "adam"]
    learning_rate: pydantic.PositiveFloat
    momentum: _Fraction
    warmup_steps: pydantic.NonNegativeInt
    weight_decay: pydantic.NonNegativeFloat
    clip_gradient_norm: pydantic.PositiveFloat
    frozen_blocks: pydantic.NonNegativeInt
    checkpoint_every: pydantic.PositiveInt
    augmentation: Augmentation


class Configuration(_Section):
    """All that a single-shot detector is made of."""

    architecture: Literal["ssd"]
    backbone: Literal["mobilenet_v2"]
    image_size: tuple[_Side, _Side]
    depth_multiplier: Annotated[float, pydantic.Field(gt=0, le=2)]
    extra_layers: tuple[pydantic.PositiveInt, ...]
    head_kernel_size: Literal[1, 3]
    batch_norm: BatchNorm
    anchors: Anchors
    matching: Matching
    losses: Losses
    detection: Detection
    training: Training

    def with_training(self, **changes: Any) -> Configuration:
        """Give a copy whose ``training`` section has the changes; a None leaves a value as it is."""
        given = {key: value for key, value in changes.items() if value is not None}
        data = self.model_dump()
        return validate(data | {"training": data["training"] | given}, where="parameters")


def shipped_models() -> list[str]:
    """List the names of the configurations that come with odml, sorted."""
    return sorted(entry.name[:-4] for entry in resources.files("odml.configs").iterdir() if entry.name.endswith(".yml"))


def load(model: str) -> Configuration:
    """Load a configuration by the name of a shipped model or from a YAML file.

    A file may say ``extends: [other, ...]`` with names or files (relative to itself); it changes what it names,
    section by section, and of several an earlier one wins over a later one.

    Raises:
        ConfigurationError: no such model or file, not YAML, an unknown key or a value that is not allowed.
    """
    return validate(_read_layers(model, Path()), where=model)


def validate(data: Mapping[str, Any], *, where: str) -> Configuration:
    """Make a configuration of plain data; ``where`` is named in the ConfigurationError of the first bad key."""
    try:
        return Configuration.model_validate(data)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        # What is missing is found in the whole section: too much to show.
        found = "" if first["type"] == "missing" else f" (found {first['input']!r})"
        raise ConfigurationError(f"{where}: {key}: {first['msg']}{found}") from None


def _read_layers(model: str, folder: Path, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    text, where = _read_text(model, folder)
    if where in seen:
        raise ConfigurationError(f"{where}: extends itself; remove it from extends")
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{where}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigurationError(f"{where}: holds no keys; see {shipped_models()[0]}.yml for the form")
    bases = data.pop("extends", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list):
        raise ConfigurationError(f"{where}: extends is {bases!r}; give a name, a .yml file or a list of them")
    for base in bases:
        data = _merge(data, _read_layers(str(base), Path(where).parent, (*seen, where)))
    return data


def _read_text(model: str, folder: Path) -> tuple[str, str]:
    if model in shipped_models():
        return resources.files("odml.configs").joinpath(f"{model}.yml").read_text("utf-8"), model
    if Path(model).suffix not in (".yml", ".yaml"):
        near = difflib.get_close_matches(model, shipped_models(), n=1, cutoff=0)
        raise ConfigurationError(
            f"model: there is no {model!r}; did you mean {near[0]!r}? (a name of {shipped_models()} or a .yml file)"
        )
    path = Path(os.path.normpath(folder / model))
    try:
        return path.read_text("utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigurationError(f"{path}: cannot be read ({reason}); pass a model's name or a .yml file") from None


def _merge(over: dict[str, Any], under: dict[str, Any]) -> dict[str, Any]:
    both = {key for key in over if isinstance(over[key], dict) and isinstance(under.get(key), dict)}
    return under | over | {key: _merge(over[key], under[key]) for key in both}
