"""ResNet v1 (He et al. 2015, table 1), laid out and named as slim's ``resnet_v1.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from odml.backbones.convolutions import BatchNorm, ConvBN, slim_scope

# Bottlenecks of each of the four stages.
UNITS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
SCOPES = {"resnet50": "resnet_v1_50", "resnet101": "resnet_v1_101"}

MakeBatchNorm = Callable[..., BatchNorm]


class Bottleneck(keras.layers.Layer):
    """1x1 to ``depth`` channels, 3x3, 1x1 to four times as many; the input is added, through a 1x1 if it is narrower.

    A stride stands in the 3x3 convolution (slim's choice; the paper has it in the first 1x1).
    """

    def __init__(self, depth: int, *, stride: int = 1, make_batch_norm: MakeBatchNorm, **options: Any):
        super().__init__(name="bottleneck_v1", **options)
        self.depth = depth
        self.stride = stride
        self.make_batch_norm = make_batch_norm

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the convolutions for an input of C channels."""
        widens = input_shape[-1] != 4 * self.depth
        self.shortcut = self._convolution(4 * self.depth, 1, "shortcut", stride=self.stride) if widens else None
        self.conv1 = self._convolution(self.depth, 1, "conv1", activation=tf.nn.relu)
        self.conv2 = self._convolution(self.depth, 3, "conv2", stride=self.stride, activation=tf.nn.relu)
        # Fresh units pass their input on (Goyal et al. 2017, 5.1): sixteen sums of two would overflow otherwise.
        self.conv3 = self._convolution(4 * self.depth, 1, "conv3", gamma=0.0)

    def _convolution(
        self,
        filters: int,
        kernel_size: int,
        name: str,
        *,
        stride: int = 1,
        activation: Callable[[tf.Tensor], tf.Tensor] | None = None,
        gamma: float = 1.0,
    ) -> ConvBN:
        return ConvBN(
            filters,
            kernel_size,
            stride=stride,
            activation=activation,
            pads_evenly=True,
            batch_norm=self.make_batch_norm(gamma=gamma),
            name=name,
        )

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Give [B, ceil(H / stride), ceil(W / stride), 4 * depth] for x [B, H, W, C]."""
        with slim_scope(self):
            if self.shortcut is not None:
                shortcut = self.shortcut(x, training=training)
            else:
                # Every second pixel, as slim's `subsample`.
                shortcut = x if self.stride == 1 else tf.nn.max_pool2d(x, 1, self.stride, "VALID", name="shortcut")
            y = self.conv2(self.conv1(x, training=training), training=training)
            return tf.nn.relu(shortcut + self.conv3(y, training=training))


class Stage(keras.layers.Layer):
    """A row of bottlenecks; the last one has the stride."""

    def __init__(self, depth: int, units: int, *, stride: int, make_batch_norm: MakeBatchNorm, **options: Any):
        super().__init__(**options)
        strides = [1] * (units - 1) + [stride]
        self.units = [Bottleneck(depth, stride=each, make_batch_norm=make_batch_norm) for each in strides]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make nothing, all parts do when they are called."""

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Give [B, ceil(H / stride), ceil(W / stride), 4 * depth] for x [B, H, W, C]."""
        for number, unit in enumerate(self.units, start=1):
            with keras.name_scope(f"unit_{number}"):
                x = unit(x, training=training)
        return x


class ResNetV1(keras.layers.Layer):
    """The network up to its third stage ("C4") at stride 16, for images [B, H, W, 3] less the ImageNet mean.

    Args:
        units: bottlenecks of the first three stages.
    """

    def __init__(self, units: Sequence[int], *, make_batch_norm: MakeBatchNorm, **options: Any):
        super().__init__(**options)
        self.conv1 = ConvBN(
            64,
            7,
            stride=2,
            activation=tf.nn.relu,
            pads_evenly=True,
            batch_norm=make_batch_norm(),
            name="conv1",
        )
        # slim subsamples at the end of a stage; the third one would only do so for the fourth.
        self.stages = [
            Stage(depth, count, stride=stride, make_batch_norm=make_batch_norm, name=f"block{number}")
            for number, (depth, count, stride) in enumerate(zip((64, 128, 256), units, (2, 2, 1), strict=True), start=1)
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make nothing, all parts do when they are called; Keras gives a path (``slim_scope``) to what has this."""

    def freeze(self, stages: int) -> None:
        """Keep the first convolution and so many stages from being trained; 0 freezes nothing."""
        frozen: list[keras.layers.Layer] = [self.conv1, *self.stages[:stages]] if stages else []
        for layer in frozen:
            layer.trainable = False

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Give the features [B, ceil(H / 16), ceil(W / 16), 1024]."""
        x = self.conv1(x, training=training)
        with slim_scope(self):
            x = tf.nn.max_pool2d(x, 3, 2, "SAME", name="pool1/MaxPool")
        for stage in self.stages:
            x = stage(x, training=training)
        return x


def last_stage(units: int, *, make_batch_norm: MakeBatchNorm) -> Stage:
    """Make the fourth stage, [B, H, W, 1024] -> [B, H, W, 2048], without a stride."""
    return Stage(512, units, stride=1, make_batch_norm=make_batch_norm, name="block4")
