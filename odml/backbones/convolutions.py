"""slim's convolution: no bias, batch normalisation, an activation; scopes and variables are named as slim's.

A path such as ``FeatureExtractor/MobilenetV2/Conv/BatchNorm/gamma`` is thus the same in a 2018 checkpoint, in ours
and in the frozen graph, and no table has to translate it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


class BatchNorm(keras.layers.Layer):
    """Batch normalisation by TensorFlow's fused kernel, which Keras 3's own layer does not use.

    Normalises [B, H, W, C] over B, H, W. In training it uses the batch's statistics and moves the moving ones; when
    not training, or when ``trainable`` is False, it uses the moving ones. The moving variance follows the unbiased
    variance of the batch, as TF1's did.
    """

    def __init__(self, *, momentum: float, epsilon: float, train: bool = True, **options: Any):
        super().__init__(**options)
        self.momentum = momentum
        self.epsilon = epsilon
        self.train = train

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make gamma, beta and the moving statistics, [C] each."""
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros")
        self.moving_mean = self.add_weight(name="moving_mean", shape=shape, initializer="zeros", trainable=False)
        self.moving_variance = self.add_weight(name="moving_variance", shape=shape, initializer="ones", trainable=False)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Normalise x."""
        gamma, beta = tf.convert_to_tensor(self.gamma.value), tf.convert_to_tensor(self.beta.value)
        if not (training and self.trainable):
            mean = tf.convert_to_tensor(self.moving_mean.value)
            variance = tf.convert_to_tensor(self.moving_variance.value)
            return tf.compat.v1.nn.fused_batch_norm(
                x, gamma, beta, mean, variance, epsilon=self.epsilon, is_training=False
            )[0]
        y, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=self.epsilon, is_training=True)
        for moving, current in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign_add((1 - self.momentum) * (current - moving))
        return y


class ConvBN(keras.layers.Layer):
    """A convolution with SAME padding, batch normalisation and an activation."""

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        *,
        stride: int = 1,
        activation: Callable[[tf.Tensor], tf.Tensor] | None = tf.nn.relu6,
        stddev: float,
        batch_norm: BatchNorm,
        **options: Any,
    ):
        super().__init__(**options)
        self.filters = filters
        self.kernel_size = kernel_size
        self.stride = stride
        self.activation = activation
        self.stddev = stddev
        self.batch_norm = batch_norm

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the kernel [K, K, C, filters]."""
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], self.filters)
        initializer = keras.initializers.TruncatedNormal(stddev=self.stddev)
        self.kernel = self.add_weight(name="weights", shape=shape, initializer=initializer)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Give [B, ceil(H / stride), ceil(W / stride), filters] for x [B, H, W, C]."""
        x = tf.nn.conv2d(x, self.kernel, strides=self.stride, padding="SAME")
        x = self.batch_norm(x, training=training)
        return x if self.activation is None else self.activation(x)


class DepthwiseConvBN(keras.layers.Layer):
    """A 3x3 depthwise convolution with SAME padding, batch normalisation and ReLU6."""

    def __init__(self, *, stride: int = 1, stddev: float, batch_norm: BatchNorm, **options: Any):
        super().__init__(**options)
        self.stride = stride
        self.stddev = stddev
        self.batch_norm = batch_norm

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the kernel [3, 3, C, 1]."""
        initializer = keras.initializers.TruncatedNormal(stddev=self.stddev)
        self.kernel = self.add_weight(
            name="depthwise_weights", shape=(3, 3, input_shape[-1], 1), initializer=initializer
        )

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Give [B, ceil(H / stride), ceil(W / stride), C] for x [B, H, W, C]."""
        strides = [1, self.stride, self.stride, 1]
        x = tf.nn.depthwise_conv2d(x, self.kernel, strides=strides, padding="SAME")
        return tf.nn.relu6(self.batch_norm(x, training=training))
