"""slim's convolution: no bias, batch normalisation, an activation; scopes and variables are named as slim's.

A path such as ``FeatureExtractor/MobilenetV2/Conv/BatchNorm/gamma`` is thus the same in a 2018 checkpoint and in ours,
and no table has to translate it. Operations stand in the same scopes (``slim_scope``), where programs that read frozen
graphs look for them.

Under a Keras policy of mixed precision features have 16 bits. Normalisation is worked out in 32, folded kernels too:
its variables, and the kernels before it, are not cast when they are read (``autocast``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf


def slim_scope(layer: keras.layers.Layer) -> tf.name_scope:
    """Open the scope that a layer of a network, one with a ``build``, has in slim: its path without the network's name.

    Keras opens a scope for each call too, but TensorFlow numbers what is opened twice (``Conv_1``).
    """
    return tf.name_scope(f"{layer.path.partition('/')[2]}/")


class BatchNorm(keras.layers.Layer):
    """Batch normalisation by TensorFlow's fused kernel, which Keras 3's own layer does not use.

    Normalises [B, H, W, C] over B, H, W. In training it uses the batch's statistics and moves the moving ones; when
    not training, when ``train`` is False, or when the layer is frozen (``trainable`` False), it uses the moving ones:
    it then is a scale and a shift for each channel, which belong into the convolution before it (``fold``). The moving
    variance follows the unbiased variance of the batch, as TF1's did. Fresh ``gamma`` is 1, or what it is told.

    With several replicas each normalises its own part of the batch, and moves its own moving statistics; the training
    loop gives all of them the mean of these before they are saved or used.
    """

    def __init__(self, *, momentum: float, epsilon: float, train: bool = True, gamma: float = 1.0, **options: Any):
        super().__init__(**options)
        self.initial_gamma = keras.initializers.Constant(gamma)
        self.momentum = momentum
        self.epsilon = epsilon
        self.train = train

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make gamma, beta and the moving statistics, [C] each."""
        add = partial(self.add_weight, shape=(input_shape[-1],), autocast=False)
        self.gamma = add(name="gamma", initializer=self.initial_gamma)
        self.beta = add(name="beta", initializer="zeros")
        self.moving_mean = add(name="moving_mean", initializer="zeros", trainable=False)
        self.moving_variance = add(name="moving_variance", initializer="ones", trainable=False)

    def is_fixed(self, training: bool) -> bool:
        """Say whether the moving statistics are used, and stay as they are."""
        return not (training and self.train and self.trainable)

    def fold(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Give the scale and the shift [C] that normalisation by the moving statistics is."""
        scale = self.gamma.value * tf.math.rsqrt(self.moving_variance.value + self.epsilon)
        return scale, self.beta.value - self.moving_mean.value * scale

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Normalise x."""
        if self.is_fixed(training):
            scale, shift = self.fold()
            return x * tf.cast(scale, x.dtype) + tf.cast(shift, x.dtype)
        gamma, beta = tf.convert_to_tensor(self.gamma.value), tf.convert_to_tensor(self.beta.value)
        y, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=self.epsilon, is_training=True)
        for moving, current in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign_add((1 - self.momentum) * (current - moving))
        return y


class ConvBN(keras.layers.Layer):
    """A convolution with SAME padding, batch normalisation and an activation.

    Args:
        stddev: of the truncated normal that fresh kernels are drawn from; None: that of He et al. (2015).
        pads_evenly: with a stride, pad by (K - 1) / 2 on all sides, as slim's ``conv2d_same`` does for ResNets; SAME
            pads more after than before where the side is even.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        *,
        stride: int = 1,
        activation: Callable[[tf.Tensor], tf.Tensor] | None = tf.nn.relu6,
        stddev: float | None = None,
        pads_evenly: bool = False,
        batch_norm: BatchNorm,
        **options: Any,
    ):
        super().__init__(**options)
        self.filters = filters
        self.kernel_size = kernel_size
        self.stride = stride
        self.activation = activation
        self.initializer = _initializer(stddev)
        self.margin = (kernel_size - 1) // 2 if pads_evenly and stride > 1 else 0
        self.batch_norm = batch_norm

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the kernel [K, K, C, filters]."""
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], self.filters)
        self.kernel = self.add_weight(name="weights", shape=shape, initializer=self.initializer, autocast=False)
        # A folded normalisation is never called, so nothing else would make its variables.
        self.batch_norm.build((None, None, None, self.filters))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Give [B, ceil(H / stride), ceil(W / stride), filters] for x [B, H, W, C]."""
        with slim_scope(self):
            if self.batch_norm.is_fixed(training):
                scale, shift = self.batch_norm.fold()
                x = tf.nn.bias_add(self._convolve(x, self.kernel.value * scale), tf.cast(shift, x.dtype))
            else:
                x = self.batch_norm(self._convolve(x, self.kernel.value), training=training)
            return x if self.activation is None else self.activation(x)

    def _convolve(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if self.margin:
            sides = [self.margin, self.margin]
            x = tf.pad(x, [[0, 0], sides, sides, [0, 0]])
        kernel = tf.cast(kernel, x.dtype)
        return tf.nn.conv2d(x, kernel, strides=self.stride, padding="VALID" if self.margin else "SAME")


class DepthwiseConvBN(keras.layers.Layer):
    """A 3x3 depthwise convolution with SAME padding, batch normalisation and ReLU6."""

    def __init__(self, *, stride: int = 1, stddev: float, batch_norm: BatchNorm, **options: Any):
        super().__init__(**options)
        self.stride = stride
        self.initializer = _initializer(stddev)
        self.batch_norm = batch_norm

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the kernel [3, 3, C, 1]."""
        channels = input_shape[-1]
        assert channels
        shape = (3, 3, channels, 1)
        self.kernel = self.add_weight(
            name="depthwise_weights", shape=shape, initializer=self.initializer, autocast=False
        )
        self.batch_norm.build((None, None, None, channels))

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Give [B, ceil(H / stride), ceil(W / stride), C] for x [B, H, W, C]."""
        with slim_scope(self):
            if self.batch_norm.is_fixed(training):
                scale, shift = self.batch_norm.fold()
                x = tf.nn.bias_add(self._convolve(x, self.kernel.value * scale[:, None]), tf.cast(shift, x.dtype))
            else:
                x = self.batch_norm(self._convolve(x, self.kernel.value), training=training)
            return tf.nn.relu6(x)

    def _convolve(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(kernel, x.dtype)
        return tf.nn.depthwise_conv2d(x, kernel, strides=[1, self.stride, self.stride, 1], padding="SAME")


class Conv(keras.layers.Layer):
    """A convolution with SAME padding and a bias, without normalisation; ``activation`` None: linear."""

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        *,
        activation: Callable[[tf.Tensor], tf.Tensor] | None = None,
        stddev: float,
        **options: Any,
    ):
        super().__init__(**options)
        self.filters = filters
        self.kernel_size = kernel_size
        self.activation = activation
        self.initializer = _initializer(stddev)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the kernel [K, K, C, filters] and the bias."""
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], self.filters)
        self.kernel = self.add_weight(name="weights", shape=shape, initializer=self.initializer)
        self.bias = self.add_weight(name="biases", shape=(self.filters,), initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Give [B, H, W, filters] for x [B, H, W, C]."""
        with slim_scope(self):
            x = tf.nn.bias_add(tf.nn.conv2d(x, self.kernel, strides=1, padding="SAME"), self.bias)
            return x if self.activation is None else self.activation(x)


def _initializer(stddev: float | None) -> keras.initializers.Initializer:
    return keras.initializers.HeNormal() if stddev is None else keras.initializers.TruncatedNormal(stddev=stddev)
