"""Weights that a training starts from."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import keras
import numpy as np

from odml.architectures import SSD
from odml.errors import WeightsError

_IMAGENET_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
_IMAGENET_ADDRESS = f"https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/{_IMAGENET_FILE}"


def load(model: SSD, weights: str) -> int:
    """Read weights into a network's backbone.

    Args:
        model: gets the weights.
        weights: ``imagenet`` (Keras' own file: from its cache, else downloaded into it) or the path of such a file
            (``.h5`` or ``.weights.h5`` of ``keras.applications.MobileNetV2(include_top=False)``).
    Returns:
        How many of the network's variables were set.
    Raises:
        WeightsError: no such file, a file of another network, or a download that failed.
    """
    path = _cached_imagenet() if weights == "imagenet" else Path(weights)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such weights file; pass weights=imagenet or a file's path")
    source = _read_mobilenet_v2(path)
    variables = {variable.path.split("MobilenetV2/")[-1]: variable for variable in model.variables}
    for name, value in source.items():
        if variables[name].shape != value.shape:
            raise WeightsError(
                f"{path}: {name} is {list(value.shape)} there and {list(variables[name].shape)} in the network; "
                "use a model with the depth_multiplier of the file"
            )
    for name, value in source.items():
        variables[name].assign(value)
    return len(source)


def imagenet_path() -> Path:
    """Say where Keras caches the ImageNet weights, whether they are there or not."""
    home = os.environ.get("KERAS_HOME", "~/.keras")
    return Path(home).expanduser() / "models" / _IMAGENET_FILE


def _cached_imagenet() -> Path:
    path = imagenet_path()
    if path.is_file():
        return path
    try:
        home = path.parent.parent
        return Path(keras.utils.get_file(path.name, _IMAGENET_ADDRESS, cache_dir=str(home), cache_subdir="models"))
    except Exception as error:
        reason = " ".join(str(error).split())
        raise WeightsError(
            f"weights=imagenet: {path} is not there and cannot be downloaded ({reason}); "
            f"put the file there ({_IMAGENET_ADDRESS}), or pass its path as weights="
        ) from None


def _read_mobilenet_v2(path: Path) -> dict[str, np.ndarray]:
    """Read Keras' MobileNetV2 and name its variables as slim does, relative to ``MobilenetV2/``."""
    try:
        with warnings.catch_warnings():
            # Of a file of another network Keras warns dozens of times before it raises.
            warnings.filterwarnings("ignore", message="Skipping nested container")
            source = keras.applications.MobileNetV2(input_shape=(224, 224, 3), include_top=False, weights=str(path))
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"{path}: holds no weights of MobileNetV2 without its top ({reason}); pass weights=imagenet or another file"
        ) from None
    return {
        f"{_slim_scope(layer.name)}/{_slim_variable(layer, variable.name)}": variable.numpy()
        for layer in source.layers
        for variable in layer.variables
    }


def _slim_variable(layer: keras.layers.Layer, name: str) -> str:
    if name != "kernel":
        return name
    return "depthwise_weights" if isinstance(layer, keras.layers.DepthwiseConv2D) else "weights"


def _slim_scope(layer: str) -> str:
    """Translate a layer's name: ``block_3_expand_BN`` -> ``expanded_conv_3/expand/BatchNorm``."""
    named = {"Conv1": "Conv", "bn_Conv1": "Conv/BatchNorm", "Conv_1": "Conv_1", "Conv_1_bn": "Conv_1/BatchNorm"}
    if layer in named:
        return named[layer]
    layer = re.sub(r"^block_(\d+)_", r"expanded_conv_\1/", layer.replace("expanded_conv_", "expanded_conv/", 1))
    return re.sub(r"_BN$", "/BatchNorm", layer)
