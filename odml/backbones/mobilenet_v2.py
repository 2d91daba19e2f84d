"""MobileNetV2 at width 1.0 (Sandler et al. 2018, table 2), laid out and named as slim's ``mobilenet_v2.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from odml.backbones.convolutions import BatchNorm, ConvBN, DepthwiseConvBN

# (stride, output channels) of the inverted residuals after the first.
_RESIDUALS = (
    *((2, 24), (1, 24)),
    *((2, 32), (1, 32), (1, 32)),
    *((2, 64), (1, 64), (1, 64), (1, 64)),
    *((1, 96), (1, 96), (1, 96)),
    *((2, 160), (1, 160), (1, 160)),
    (1, 320),
)
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
        return (x + y if self.adds_input else y), expansion


class MobileNetV2(keras.layers.Layer):
    """The network up to its last convolution, for images [B, H, W, 3] scaled to -1..1."""

    def __init__(self, *, make_batch_norm: MakeBatchNorm, name: str = "MobilenetV2", **options: Any):
        super().__init__(name=name, **options)
        batch_norm = make_batch_norm
        self.stem = ConvBN(32, 3, stride=2, stddev=_STDDEV, batch_norm=batch_norm(), name="Conv")
        self.residuals = [
            InvertedResidual(16, stride=1, expansion=1, make_batch_norm=batch_norm, name="expanded_conv"),
            *(
                InvertedResidual(
                    filters, stride=stride, expansion=6, make_batch_norm=batch_norm, name=f"expanded_conv_{number}"
                )
                for number, (stride, filters) in enumerate(_RESIDUALS, start=1)
            ),
        ]
        self.head = ConvBN(1280, 1, stddev=_STDDEV, batch_norm=batch_norm(), name="Conv_1")

    def call(self, x: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """Give the last features before stride 32, and the last of all.

        Returns:
            The expansion of ``expanded_conv_13`` [B, H/16, W/16, 576] and ``Conv_1`` [B, H/32, W/32, 1280], sides
            rounded up.
        """
        x = self.stem(x, training=training)
        expansions = []
        for residual in self.residuals:
            x, expansion = residual(x, training=training)
            expansions.append(expansion)
        return [expansions[13], self.head(x, training=training)]
