"""A folder of golden outputs: the original networks' tensors for fixed pictures and weights made by a rule.

``weights_rule.py``                     ``value(name, shape)`` gives a variable, ``image(height, width)`` a picture
``<model>_<classes>_<picture>.npz``     the tensors of a network for a picture
``configs/<model>_<classes>.config``    that network, in the TF Object Detection API's words
``variables_<model>_<classes>.json``    its variables: name, shape and the digest of the rule's value
``<released model>/``                   a released model's ``variables.json`` and a ``<picture>.npz`` a picture

Pictures are drawn by the rule (those in its ``IMAGES``, and any ``synth_<height>x<width>``) or are photos, found by
their name with or without its first word, which says whence they are: ``voc_2007_000027`` is ``2007_000027.jpg``.
"""

from __future__ import annotations

import glob
import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from benchmarks import pipeline_text
from odml import architectures, config, initial_weights
from odml.architectures import Architecture
from odml.config import Configuration
from odml.errors import OdmlError
from odml.structures import LabelMap

DEFAULT = Path(__file__).parents[2] / "shared" / "golden"
RELEASED_SSD = "ssd_mobilenet_v2_coco_2018_03_29"

_PHOTOS = (".jpg", ".jpeg", ".png")
_CLASSES_OF_COCO = 90
_FASTER_RCNN_LIMITS: dict[str, dict[str, float]] = {
    "rpn": {"max_proposals": 100},
    "detection": {"score_threshold": 0.3, "max_detections": 100},
}
# Released models: which of ours they are, and what they were released with.
_RELEASED: dict[str, tuple[str, dict[str, dict[str, float]]]] = {
    RELEASED_SSD: ("ssd_mobilenet_v2", {"detection": {"score_threshold": 0.3}}),
    "faster_rcnn_resnet50_coco_2018_01_28": ("faster_rcnn_resnet50", _FASTER_RCNN_LIMITS),
    "faster_rcnn_resnet101_coco_2018_01_28": ("faster_rcnn_resnet101", _FASTER_RCNN_LIMITS),
}
# What is golden of training is compared by the tests.
_OF_TRAINING = re.compile(r"train_|ssd_random_crop$")


class GoldenError(OdmlError):
    """A folder of goldens lacks something or is not of the form."""


@dataclass(frozen=True)
class Variable:
    """A variable of an original network; ``digest`` begins the sha256 of its value, and is empty where not recorded."""

    name: str
    shape: tuple[int, ...]
    digest: str = ""


@dataclass(frozen=True)
class GoldenModel:
    """A network of the folder and the files that hold its outputs."""

    name: str
    configuration: Configuration
    num_classes: int
    variables: tuple[Variable, ...]
    pictures: Mapping[str, Path]


class Folder:
    """A folder of goldens; photos are looked for under ``photos``, by default ``data`` beside the folder."""

    def __init__(self, path: Path, photos: Path | None = None):
        self.path = path
        self.photos = photos or path.resolve().parent / "data"
        self.rule = _load_module(path / "weights_rule.py")

    def models(self) -> Iterator[GoldenModel]:
        """Give the networks of the folder, sorted by name, released ones last."""
        names = {self._model_of(path) for path in self._outputs()}
        for name in sorted(names):
            text = _read(self.path / "configs" / f"{name}.config")
            configuration, num_classes = pipeline_text.configuration(text, where=f"configs/{name}.config")
            paths = [path for path in self._outputs() if self._model_of(path) == name]
            pictures = {path.stem.removeprefix(f"{name}_"): path for path in paths}
            variables = _read_variables(self.path / f"variables_{name}.json")
            yield GoldenModel(name, configuration, num_classes, variables, pictures)
        for folder in sorted(path for path in self.path.iterdir() if path.name in _RELEASED):
            yield released(folder)

    def skipped(self) -> list[str]:
        """Name the files and folders that hold no outputs of a network that is known here."""
        files = [path.name for path in self.path.glob("*.npz") if _OF_TRAINING.match(path.stem)]
        folders = [path.name for path in self.path.iterdir() if path.is_dir() and any(path.glob("*.npz"))]
        return sorted(files) + sorted(set(folders) - set(_RELEASED))

    def picture(self, name: str) -> np.ndarray:
        """Give a picture, uint8 [H, W, 3] RGB."""
        drawn = dict(getattr(self.rule, "IMAGES", {}))
        size = re.fullmatch(r"synth_(\d+)x(\d+)", name)
        if name in drawn or size:
            height, width = drawn.get(name) or map(int, size.groups() if size else ())
            return np.asarray(self.rule.image(height, width))
        found = self._photos_named(name) or self._photos_named(name.partition("_")[2])
        if not found:
            raise GoldenError(f"{name}: there is no such photo under {self.photos}; pass --photos")
        return np.asarray(Image.open(found[0]).convert("RGB"))

    def _photos_named(self, stem: str) -> list[Path]:
        return sorted(path for path in self.photos.rglob(f"{glob.escape(stem)}.*") if path.suffix.lower() in _PHOTOS)

    def value(self, variable: Variable) -> np.ndarray:
        """Make a variable's value by the rule."""
        value = np.asarray(self.rule.value(variable.name, variable.shape))
        digest = hashlib.sha256(value.astype(np.float32).tobytes()).hexdigest()
        if value.dtype == np.float32 and not digest.startswith(variable.digest):
            raise GoldenError(
                f"{variable.name}: weights_rule.py gives other values than the golden's; use its own rule"
            )
        return value

    def write_checkpoint(self, model: GoldenModel, folder: Path) -> Path:
        """Write a network's variables as TF1 saved them, into an existing folder; give the checkpoint's prefix."""
        prefix = folder / "model.ckpt"
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=[variable.name for variable in model.variables],
            shape_and_slices=[""] * len(model.variables),
            tensors=[self.value(variable) for variable in model.variables],
        )
        (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n', encoding="utf-8")
        (folder / "labels.pbtxt").write_text(label_map(model.num_classes).to_pbtxt(), encoding="utf-8")
        return prefix

    def build(self, model: GoldenModel, folder: Path) -> Architecture:
        """Make our network of a golden one, with its weights, by way of a checkpoint in an existing folder."""
        self.write_checkpoint(model, folder)
        network = architectures.build(model.configuration, model.num_classes)
        restored = initial_weights.load(network, str(folder), label_map(model.num_classes))
        if restored.partly or restored.missing:
            raise GoldenError(f"{model.name}: {restored.summary()}; the network is not the golden's")
        return network

    def _outputs(self) -> list[Path]:
        return [path for path in sorted(self.path.glob("*.npz")) if not _OF_TRAINING.match(path.stem)]

    def _model_of(self, path: Path) -> str:
        names = [
            config.stem for config in self.path.glob("configs/*.config") if path.stem.startswith(f"{config.stem}_")
        ]
        if not names:
            raise GoldenError(f"{path}: there is no configs/<model>_<classes>.config for it; add it or remove the file")
        return max(names, key=len)


def released(folder: Path) -> GoldenModel:
    """Describe a released model by its folder, which its name says what it is of."""
    shipped, changes = _RELEASED[folder.name]
    data: dict[str, Any] = config.load(shipped).model_dump()
    changed = data | {section: data[section] | values for section, values in changes.items()}
    return GoldenModel(
        folder.name,
        config.validate(changed, where=folder.name),
        _CLASSES_OF_COCO,
        _read_variables(folder / "variables.json"),
        {path.stem: path for path in sorted(folder.glob("*.npz"))},
    )


def label_map(num_classes: int) -> LabelMap:
    """Name classes that have no names."""
    return LabelMap(tuple(f"class {number}" for number in range(1, num_classes + 1)))


def _load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or not spec or not spec.loader:
        raise GoldenError(f"{path}: is not there; name a folder of goldens")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _read_variables(path: Path) -> tuple[Variable, ...]:
    entries = json.loads(_read(path))
    return tuple(
        Variable(entry["name"], tuple(entry["shape"]), entry.get("sha256_16", ""))
        if isinstance(entry, dict)
        else Variable(entry[0], tuple(entry[1]))
        for entry in entries
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise GoldenError(f"{path}: cannot be read ({error.strerror}); a golden's network needs it") from None
