"""Weights of ``keras.applications`` under slim's names: the numbers fit, the files' layout and names do not."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import keras
import numpy as np

from odml.errors import WeightsError, first_line


@dataclass(frozen=True)
class _Network:
    """A network that files hold the weights of, and slim's scope of each of its layers."""

    build: Callable[[], keras.Model]
    scope: Callable[[str], str]


def read(path: Path) -> dict[str, np.ndarray]:
    """Read the weights of MobileNetV2 1.0, ResNet50 or ResNet101 without their tops.

    Both of Keras' forms, ``.weights.h5`` and ``.h5``, also of ResNets that end with their third stage.

    Returns:
        The variables under slim's names for its ImageNet networks. Its convolutions have no biases: Keras' are taken
        from the moving mean behind them. The first kernel of a ResNet is turned from BGR to RGB.
    Raises:
        WeightsError: a file of none of these networks.
    """
    try:
        network = _NETWORKS[_count_kernels(path)]
        model = network.build()
        with warnings.catch_warnings():
            # Of a file of another network Keras warns dozens of times before it raises.
            warnings.filterwarnings("ignore", message="Skipping nested container")
            model.load_weights(path)
    except Exception as error:
        reason = "another number of layers" if isinstance(error, KeyError) else first_line(error)
        raise WeightsError(
            f"{path}: holds no weights of Keras' MobileNetV2, ResNet50 or ResNet101 without its top ({reason}); pass "
            "weights=imagenet or another file"
        ) from None
    return _in_slims_layout({network.scope(layer.name): layer for layer in model.layers if layer.variables})


def _count_kernels(path: Path) -> int:
    """Count the convolutions of a file, which tells the networks apart."""
    kernels = []

    def visit(name: str, entry: h5py.Group | h5py.Dataset) -> None:
        if isinstance(entry, h5py.Dataset) and len(entry.shape) == 4 and not name.startswith("optimizer"):
            kernels.append(name)

    with h5py.File(path) as file:
        file.visititems(visit)
    return len(kernels)


def _in_slims_layout(layers: dict[str, keras.layers.Layer]) -> dict[str, np.ndarray]:
    values = {
        f"{scope}/{_slim_variable(layer, variable.name)}": variable.numpy()
        for scope, layer in layers.items()
        for variable in layer.variables
    }
    for name in [name for name in values if name.endswith("/bias")]:
        scope = name.removesuffix("bias")
        values[f"{scope}BatchNorm/moving_mean"] -= values.pop(name)
    for name, value in values.items():
        if re.fullmatch(r"resnet_v1_\d+/conv1/weights", name):
            values[name] = value[:, :, ::-1]
    return values


def _slim_variable(layer: keras.layers.Layer, name: str) -> str:
    if name != "kernel":
        return name
    return "depthwise_weights" if isinstance(layer, keras.layers.DepthwiseConv2D) else "weights"


def _mobilenet_scope(layer: str) -> str:
    """Translate a layer's name: ``block_3_expand_BN`` -> ``MobilenetV2/expanded_conv_3/expand/BatchNorm``."""
    named = {"Conv1": "Conv", "bn_Conv1": "Conv/BatchNorm", "Conv_1": "Conv_1", "Conv_1_bn": "Conv_1/BatchNorm"}
    if layer in named:
        return f"MobilenetV2/{named[layer]}"
    layer = re.sub(r"^block_(\d+)_", r"expanded_conv_\1/", layer.replace("expanded_conv_", "expanded_conv/", 1))
    return "MobilenetV2/" + re.sub(r"_BN$", "/BatchNorm", layer)


def _resnet_scope(network: str, layer: str) -> str:
    """Translate ``conv2_block1_0_bn`` -> ``resnet_v1_50/block1/unit_1/bottleneck_v1/shortcut/BatchNorm``."""
    scope, kind = layer.rsplit("_", 1)
    if match := re.fullmatch(r"conv(\d)_block(\d+)_(\d)", scope):
        stage, unit, number = match.groups()
        convolution = "shortcut" if number == "0" else f"conv{number}"
        scope = f"block{int(stage) - 1}/unit_{unit}/bottleneck_v1/{convolution}"
    return f"{network}/{scope}" + ("/BatchNorm" if kind == "bn" else "")


def _mobilenet() -> keras.Model:
    return keras.applications.MobileNetV2(input_shape=(224, 224, 3), include_top=False, weights=None)


def _resnet(build: Callable[..., keras.Model], last_layer: str) -> keras.Model:
    whole = build(include_top=False, weights=None)
    return keras.Model(whole.input, whole.get_layer(last_layer).output)


def _resnets(network: str, build: Callable[..., keras.Model], *last_layers: str) -> list[_Network]:
    return [_Network(partial(_resnet, build, last), partial(_resnet_scope, network)) for last in last_layers]


_ResNet50, _ResNet101 = keras.applications.ResNet50, keras.applications.ResNet101
# By the number of their convolutions.
_NETWORKS = {
    52: _Network(_mobilenet, _mobilenet_scope),
    **dict(zip((53, 43), _resnets("resnet_v1_50", _ResNet50, "conv5_block3_out", "conv4_block6_out"), strict=True)),
    **dict(zip((104, 94), _resnets("resnet_v1_101", _ResNet101, "conv5_block3_out", "conv4_block23_out"), strict=True)),
}
