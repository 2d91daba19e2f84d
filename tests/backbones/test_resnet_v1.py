"""ResNet v1: slim's own numbers for its convolutions with a stride, and the shapes of its features."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from odml.backbones.convolutions import BatchNorm, ConvBN
from odml.backbones.resnet_v1 import UNITS, Bottleneck, ResNetV1, last_stage


def make_batch_norm(gamma: float = 1.0) -> BatchNorm:
    return BatchNorm(momentum=0.997, epsilon=1e-12, train=False, gamma=gamma, name="BatchNorm")


def ramp(side: int) -> np.ndarray:
    """Give x[i, j] = i + j as [1, side, side, 1]."""
    return np.add.outer(np.arange(side), np.arange(side)).astype(np.float32)[None, :, :, None]


# slim's resnet_v1_test: a 3x3 kernel w[i, j] = i + j on such an input.
CONVOLVED = {
    (4, 1): [[14, 28, 43, 26], [28, 48, 66, 37], [43, 66, 84, 46], [26, 37, 46, 22]],
    (4, 2): [[14, 43], [43, 84]],
    (5, 1): [
        [14, 28, 43, 58, 34],
        [28, 48, 66, 84, 46],
        [43, 66, 84, 102, 55],
        [58, 84, 102, 120, 64],
        [34, 46, 55, 64, 30],
    ],
    (5, 2): [[14, 43, 34], [43, 84, 55], [34, 55, 30]],
}


@pytest.mark.parametrize(("side", "stride"), CONVOLVED)
def test_convolution_with_a_stride_pads_evenly(side, stride):
    layer = ConvBN(1, 3, stride=stride, activation=None, pads_evenly=True, batch_norm=make_batch_norm())
    layer(ramp(side))
    layer.kernel.assign(ramp(3)[0, :, :, :, None])
    assert layer(ramp(side)).numpy()[0, :, :, 0] == pytest.approx(np.array(CONVOLVED[side, stride]), rel=1e-6)


def test_convolution_that_pads_as_tensorflow_does():
    layer = ConvBN(1, 3, stride=2, activation=None, batch_norm=make_batch_norm())
    layer(ramp(4))
    layer.kernel.assign(ramp(3)[0, :, :, :, None])
    assert layer(ramp(4)).numpy()[0, :, :, 0] == pytest.approx(np.array([[48, 37], [37, 22]]), rel=1e-6)


def test_fixed_normalisation_folds_into_the_convolution():
    norm = BatchNorm(momentum=0.9, epsilon=0.25, train=False, name="BatchNorm")
    layer = ConvBN(1, 1, activation=None, batch_norm=norm)
    layer(ramp(2))
    layer.kernel.assign(tf.fill([1, 1, 1, 1], 3.0))
    for variable, value in ((norm.gamma, 2.0), (norm.beta, 5.0), (norm.moving_mean, 7.0), (norm.moving_variance, 3.75)):
        variable.assign([value])
    # (3 x - 7) / sqrt(3.75 + 0.25) * 2 + 5, in training too, and nothing moves.
    assert layer(ramp(2), training=True).numpy().ravel() == pytest.approx([-2, 1, 1, 4])
    assert float(norm.moving_mean[0]) == 7.0


def test_batch_s_own_statistics_are_used_and_followed():
    norm = BatchNorm(momentum=0.9, epsilon=1e-12, name="BatchNorm")
    layer = ConvBN(1, 1, activation=None, batch_norm=norm)
    layer(ramp(2))
    layer.kernel.assign(tf.fill([1, 1, 1, 1], 1.0))
    # Of 0, 1, 1, 2: mean 1, variance 1/2, unbiased 2/3.
    assert layer(ramp(2), training=True).numpy().ravel() == pytest.approx([-(2**0.5), 0, 0, 2**0.5], abs=1e-4)
    assert float(norm.moving_mean[0]) == pytest.approx(0.1)
    assert float(norm.moving_variance[0]) == pytest.approx(0.9 + 0.1 * 2 / 3)


@pytest.mark.parametrize(("side", "features"), [(64, 4), (112, 7), (224, 14), (225, 15)])
def test_features_have_stride_16(side, features):
    backbone = ResNetV1(UNITS["resnet50"][:3], make_batch_norm=make_batch_norm, name="resnet_v1_50")
    assert backbone(np.zeros([1, side, side, 3], np.float32)).shape == (1, features, features, 1024)


def test_last_stage_keeps_the_size_and_doubles_the_channels():
    stage = last_stage(3, make_batch_norm=make_batch_norm)
    assert stage(np.zeros([2, 7, 7, 1024], np.float32)).shape == (2, 7, 7, 2048)


# slim's subsample of 0, 1, 2 and so on.
@pytest.mark.parametrize(("side", "expected"), [(3, [[0, 2], [6, 8]]), (4, [[0, 2], [8, 10]])])
def test_stride_of_a_bottleneck_takes_every_second_pixel_of_its_input(side, expected):
    unit = Bottleneck(1, stride=2, make_batch_norm=make_batch_norm)
    pixels = np.arange(side**2, dtype=np.float32).reshape(1, side, side, 1)
    x = np.tile(pixels, [1, 1, 1, 4])
    unit(x)
    for layer in (unit.conv1, unit.conv2, unit.conv3):
        layer.kernel.assign(tf.zeros_like(layer.kernel))
    assert unit(x).numpy()[0, :, :, 0].tolist() == expected
