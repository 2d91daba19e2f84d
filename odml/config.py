"""A detector's configuration: what a network is made of and how it is trained, as validated data."""

from __future__ import annotations

import difflib
import functools
import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import yaml
from pydantic_core import ErrorDetails, PydanticCustomError

from odml.errors import ConfigurationError

_Fraction = Annotated[float, pydantic.Field(ge=0, le=1)]
_Scale = Annotated[float, pydantic.Field(gt=0, le=1)]
_Side = Annotated[int, pydantic.Field(ge=32, le=4096)]
_Ratios = Annotated[tuple[pydantic.PositiveFloat, ...], pydantic.Field(min_length=1)]

_Key = tuple[int | str, ...]


class _Section(pydantic.BaseModel):
    """Data that cannot be changed and knows all of its keys."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BatchNorm(_Section):
    """Momentum of the moving statistics, the number added to the variance, and whether batches' statistics are used.

    With ``train`` false the moving statistics serve in training too and stay as they are; gamma and beta are trained.
    """

    momentum: _Fraction
    epsilon: pydantic.PositiveFloat
    train: bool


class Detection(_Section):
    """Thresholds and limits of non-maximum suppression."""

    score_threshold: _Fraction
    iou_threshold: _Fraction
    max_detections_per_class: pydantic.PositiveInt
    max_detections: pydantic.PositiveInt


class Augmentation(_Section):
    """Which random changes a training picture undergoes; ``mosaic`` is the share of them made of four pictures."""

    horizontal_flip: bool
    random_crop: bool
    random_color: bool
    mosaic: _Fraction


class Training(_Section):
    """The recipe: precision, optimizer, schedule, rates, averages of the weights, when it ends, and augmentation.

    ``rms_decay`` and ``rms_epsilon`` are RMSProp's only, of the mean of squared gradients and added to it.
    ``average_decay`` 0 keeps no averages; ``patience`` 0 never ends a training before its steps are done. Of the mixed
    precisions the convolutions compute with 16 bits; all that a training keeps, and what is made of it, is float32.
    """

    batch_size: pydantic.PositiveInt
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"]
    optimizer: Literal["sgd", "adam", "rmsprop"]
    learning_rate: pydantic.PositiveFloat
    momentum: _Fraction
    rms_decay: _Fraction
    rms_epsilon: pydantic.PositiveFloat
    warmup_steps: pydantic.NonNegativeInt
    schedule: Literal["cosine", "constant", "steps"]
    decay_steps: tuple[pydantic.PositiveInt, ...]
    decay_factor: _Scale
    weight_decay: pydantic.NonNegativeFloat
    clip_gradient_norm: pydantic.PositiveFloat
    average_decay: Annotated[float, pydantic.Field(ge=0, lt=1)]
    frozen_blocks: pydantic.NonNegativeInt
    checkpoint_every: pydantic.PositiveInt
    keep_checkpoints: pydantic.PositiveInt
    patience: pydantic.NonNegativeInt
    augmentation: Augmentation


class Configuration(_Section):
    """What every detector is made of; the families below add their own."""

    architecture: str
    backbone: str
    batch_norm: BatchNorm
    detection: Detection
    training: Training

    def with_training(self, **changes: Any) -> Self:
        """Give a copy whose ``training`` section has the changes; a None leaves a value as it is."""
        given = {key: value for key, value in changes.items() if value is not None}
        data = self.model_dump()
        changed = validate(data | {"training": data["training"] | given}, where="parameters")
        assert isinstance(changed, type(self))
        return changed

    def to_yaml(self) -> str:
        """Write all keys as a file that ``load`` reads."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=100)


class SSDAnchors(_Section):
    """SSD's anchors: scales spread from ``min_scale`` to ``max_scale`` of the shorter side (paper, 2.2)."""

    min_scale: _Scale
    max_scale: _Scale
    aspect_ratios: _Ratios
    reduce_boxes_in_lowest_layer: bool


class Matching(_Section):
    """IoU from which an anchor stands for an object."""

    threshold: _Fraction


class SSDLosses(_Section):
    """Weights of the losses, and which background anchors take part (hard negative mining).

    Of anchors whose boxes overlap by more than ``mining_iou_threshold`` only the worst takes part; 1 keeps all.
    """

    classification_weight: pydantic.NonNegativeFloat
    localization_weight: pydantic.NonNegativeFloat
    negatives_per_positive: pydantic.PositiveFloat
    min_negatives: pydantic.NonNegativeInt
    mining_iou_threshold: _Fraction


class SSDConfiguration(Configuration):
    """All that a single-shot detector is made of."""

    architecture: Literal["ssd"]
    backbone: Literal["mobilenet_v2"]
    image_size: tuple[_Side, _Side]
    depth_multiplier: Annotated[float, pydantic.Field(gt=0, le=2)]
    extra_layers: tuple[pydantic.PositiveInt, ...]
    depthwise_extra_layers: bool
    head_kernel_size: Literal[1, 3]
    anchors: SSDAnchors
    matching: Matching
    losses: SSDLosses


class GridAnchors(_Section):
    """Anchors of one grid: the sides are ``base_size`` pixels times a scale; an aspect ratio is width over height."""

    base_size: pydantic.PositiveFloat
    scales: _Ratios
    aspect_ratios: _Ratios


def _at_most(value: float, other: str, info: pydantic.ValidationInfo) -> float:
    """Refuse a value above that of another key before it."""
    if value > info.data.get(other, value):
        raise PydanticCustomError("above", "Input should not be above " + other + f", {info.data[other]}")
    return value


class RPN(_Section):
    """The first stage: which anchors it learns from, and how many proposals it makes.

    Anchors from IoU ``matched_threshold`` are objects, below ``unmatched_threshold`` background, those between take no
    part; ``batch_size`` of them are drawn an image, at most ``positive_fraction`` of these objects.
    """

    matched_threshold: _Fraction
    unmatched_threshold: _Fraction
    batch_size: pydantic.PositiveInt
    positive_fraction: _Fraction
    score_threshold: _Fraction
    iou_threshold: _Fraction
    max_proposals: pydantic.PositiveInt

    @pydantic.field_validator("unmatched_threshold")
    @classmethod
    def _is_not_above_matched(cls, value: float, info: pydantic.ValidationInfo) -> float:
        return _at_most(value, "matched_threshold", info)


class ROI(_Section):
    """The second stage: how it cuts a proposal's features out, and which proposals it learns from.

    Features are sampled to ``crop_size`` x ``crop_size`` and then max-pooled by ``pool_size``; ``batch_size`` proposals
    are drawn an image, at most ``positive_fraction`` of them objects, those from IoU ``matched_threshold``.
    """

    crop_size: pydantic.PositiveInt
    pool_size: pydantic.PositiveInt
    matched_threshold: _Fraction
    batch_size: pydantic.PositiveInt
    positive_fraction: _Fraction


class FasterRCNNLosses(_Section):
    """Weights of the losses of the first stage (``rpn_``) and of the second."""

    rpn_objectness_weight: pydantic.NonNegativeFloat
    rpn_localization_weight: pydantic.NonNegativeFloat
    classification_weight: pydantic.NonNegativeFloat
    localization_weight: pydantic.NonNegativeFloat


class FasterRCNNConfiguration(Configuration):
    """All that a Faster R-CNN is made of; pictures keep their aspect: the shorter side becomes ``min_side``.

    If the longer one then went beyond ``max_side``, it becomes that instead.
    """

    architecture: Literal["faster_rcnn"]
    backbone: Literal["resnet50", "resnet101"]
    min_side: _Side
    max_side: _Side
    anchors: GridAnchors
    rpn: RPN
    roi: ROI
    losses: FasterRCNNLosses


CONFIGURATIONS: dict[str, type[Configuration]] = {"ssd": SSDConfiguration, "faster_rcnn": FasterRCNNConfiguration}


# What a network and its training had before there were these keys.
_BEFORE_THE_KEY: dict[str, Any] = {
    "training": {
        "precision": "float32",
        "rms_decay": 0.9,
        "rms_epsilon": 1.0,
        "schedule": "cosine",
        "decay_steps": [],
        "decay_factor": 0.1,
        "average_decay": 0.0,
        "frozen_blocks": 0,
        "keep_checkpoints": 5,
        "patience": 0,
        "augmentation": {"mosaic": 0.0},
    }
}
_BEFORE_THE_KEY_OF_SSD: dict[str, Any] = {
    "batch_norm": {"train": True},
    "depth_multiplier": 1.0,
    "depthwise_extra_layers": True,
    "losses": {"mining_iou_threshold": 1.0},
}


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
    layers = _read_layers(model, Path())
    merged = functools.reduce(lambda over, layer: _merge(over, layer.data), layers, dict[str, Any]())

    def where(key: _Key) -> str:
        return next((layer.where for layer in layers if _holds(layer.data, key)), model)

    return _validate(merged, where)


def validate(data: Mapping[str, Any], *, where: str) -> Configuration:
    """Make a configuration of plain data; ``where`` is named in the ConfigurationError of the first bad key."""
    return _validate(data, lambda _: where)


def restore(data: Mapping[str, Any], *, where: str) -> Configuration:
    """Make a configuration of what this version or an earlier one has saved, as ``validate`` does.

    Keys that did not exist yet get the value that changes nothing; what a user writes has no such help.
    """
    older = _merge(_BEFORE_THE_KEY, _BEFORE_THE_KEY_OF_SSD if data.get("architecture") == "ssd" else {})
    return validate(_merge(dict(data), older), where=where)


def _validate(data: Mapping[str, Any], where: Callable[[_Key], str]) -> Configuration:
    family = CONFIGURATIONS.get(str(data.get("architecture")), _AnyFamily)
    try:
        made = family.model_validate(data)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = first["loc"]
        name = ".".join(str(part) for part in key)
        raise ConfigurationError(f"{where(key)}: {name}: {_explain(first, family)}") from None
    assert isinstance(made, Configuration)
    return made


class _AnyFamily(pydantic.BaseModel):
    """Stands in where ``architecture`` is missing or unknown, to say so."""

    architecture: Literal["ssd", "faster_rcnn"]


def _explain(error: ErrorDetails, family: type[pydantic.BaseModel]) -> str:
    """Say what is wrong with a key, what is allowed there, and which allowed name is nearest."""
    *sections, last = (str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        keys = list(functools.reduce(_section, sections, family).model_fields)
        return f"there is no such key{_nearest(last, keys)} (keys here: {', '.join(keys)})"
    if error["type"] == "missing":
        return "is missing; give it, or name a model that has it in extends"
    allowed = re.findall(r"'([^']*)'", error["msg"]) if error["type"] == "literal_error" else []
    return f"{error['msg']}{_nearest(str(error['input']), allowed)} (found {error['input']!r})"


def _section(parent: type[pydantic.BaseModel], name: str) -> type[pydantic.BaseModel]:
    section = parent.model_fields[name].annotation
    assert isinstance(section, type)
    return section


def _nearest(name: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, allowed, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _holds(data: Any, key: _Key) -> bool:
    """Say whether a file names a key itself."""
    for part in key:
        if not isinstance(data, dict):
            break  # an entry of a list, which stands in one file as a whole
        if part not in data:
            return False
        data = data[part]
    return True


@dataclass(frozen=True)
class _Layer:
    """One file's own keys."""

    where: str
    data: dict[str, Any]


def _read_layers(model: str, folder: Path, seen: tuple[str, ...] = ()) -> list[_Layer]:
    """Read a file and what it extends, those that win first."""
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
    below = (_read_layers(str(base), Path(where).parent, (*seen, where)) for base in bases)
    return [_Layer(where, data), *itertools.chain.from_iterable(below)]


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
