"""MobileNetV2 (Sandler et al. 2018, table 2), laid out and named as slim's ``mobilenet_v2.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from odml.backbones.convolutions import BatchNorm, ConvBN, DepthwiseConvBN, slim_scope

# Channels of the first convolution, of the inverted residuals, and of the last convolution.
_DEPTHS = (32, 16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320, 1280)
# Of the inverted residuals after the first.
_STRIDES = (2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)
_STDDEV = 0.09

MakeBatchNorm = Callable[[], BatchNorm]


class InvertedResidual(keras.layers.Layer):
    """Expand by 1x1, filter by 3x3 depthwise, project by a linear 1x1; add the input where the shapes allow it."""

    def __init__(self, filters: int, *, stride: int, expansion: int, make_batch_norm: MakeBatchNorm, **options: Any):
        super().__init__(**options)
        self.filters = filters
        self.stride = stride
        self.expansion = expansion
        self.make_batch_norm = make_batch_norm

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the convolutions for an input of C channels; without expansion there is no first one."""
        channels = input_shape[-1]
        assert channels
        self.adds_input = self.stride == 1 and channels == self.filters
        self.expand = (
            ConvBN(channels * self.expansion, 1, stddev=_STDDEV, batch_norm=self.make_batch_norm(), name="expand")
            if self.expansion > 1
            else None
        )
        self.depthwise = DepthwiseConvBN(
            stride=self.stride, stddev=_STDDEV, batch_norm=self.make_batch_norm(), name="depthwise"
        )
        self.project = ConvBN(
            self.filters, 1, activation=None, stddev=_STDDEV, batch_norm=self.make_batch_norm(), name="project"
        )

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Give the block's output and its expansion (x itself if it has none)."""
        expansion = x if self.expand is None else self.expand(x, training=training)
        y = self.project(self.depthwise(expansion, training=training), training=training)
        if not self.adds_input:
            return y, expansion
        with slim_scope(self):
            return x + y, expansion


class MobileNetV2(keras.layers.Layer):
    """The network up to its last convolution, for images [B, H, W, 3] scaled to -1..1."""

    def __init__(
        self,
        *,
        depth_multiplier: float = 1.0,
        make_batch_norm: MakeBatchNorm,
        name: str = "MobilenetV2",
        **options: Any,
    ):
        super().__init__(name=name, **options)
        batch_norm = make_batch_norm
        stem, first, *others, head = (scaled_depth(depth, depth_multiplier) for depth in _DEPTHS)
        self.stem = ConvBN(stem, 3, stride=2, stddev=_STDDEV, batch_norm=batch_norm(), name="Conv")
        self.residuals = [
            InvertedResidual(first, stride=1, expansion=1, make_batch_norm=batch_norm, name="expanded_conv"),
            *(
                InvertedResidual(
                    filters, stride=stride, expansion=6, make_batch_norm=batch_norm, name=f"expanded_conv_{number}"
                )
                for number, (stride, filters) in enumerate(zip(_STRIDES, others, strict=True), start=1)
            ),
        ]
        self.head = ConvBN(head, 1, stddev=_STDDEV, batch_norm=batch_norm(), name="Conv_1")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make nothing, all parts do when they are called."""

    def freeze(self, blocks: int) -> None:
        """Keep the first convolution and so many inverted residuals, statistics included, from being trained."""
        frozen: list[keras.layers.Layer] = [self.stem, *self.residuals[:blocks]] if blocks else []
        for layer in frozen:
            layer.trainable = False

    def call(self, x: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """Give the last features before stride 32, and the last of all.

        Returns:
            The expansion of ``expanded_conv_13`` [B, H/16, W/16, 576] and ``Conv_1`` [B, H/32, W/32, 1280], sides
            rounded up; channels are those of ``depth_multiplier`` 1.
        """
        x = self.stem(x, training=training)
        expansions = []
        for residual in self.residuals:
            x, expansion = residual(x, training=training)
            expansions.append(expansion)
        return [expansions[13], self.head(x, training=training)]


def scaled_depth(depth: int, depth_multiplier: float) -> int:
    """Scale a number of channels to a multiple of 8, at least 16, at most a tenth below (slim, ``_make_divisible``)."""
    wanted = depth * depth_multiplier
    rounded = max(16, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8
