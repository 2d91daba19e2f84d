from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from odml.backbones.convolutions import BatchNorm, ConvBN, DepthwiseConvBN
from odml.backbones.mobilenet_v2 import InvertedResidual, MobileNetV2, scaled_depth

EPSILON = 0.001
IDENTITY = math.sqrt(1 + EPSILON)  # what fresh statistics divide by


def batch_norm(momentum: float = 0.9) -> BatchNorm:
    return BatchNorm(momentum=momentum, epsilon=EPSILON, name="BatchNorm")


def pixels(*values: float) -> tf.Tensor:
    """Give a picture of one channel with these pixels in a row."""
    return tf.reshape(tf.constant(values, tf.float32), [1, 1, -1, 1])


def test_batch_norm_normalises_a_training_batch_by_its_own_statistics():
    y = batch_norm()(pixels(1, 3, 5, 7), training=True)
    # Mean 4, variance 5.
    assert y.numpy().ravel() == pytest.approx(np.array([-3, -1, 1, 3]) / math.sqrt(5 + EPSILON))


def test_batch_norm_moves_its_statistics_towards_the_unbiased_ones_of_the_batch():
    layer = batch_norm(momentum=0.9)
    layer(pixels(1, 3, 5, 7), training=True)
    assert layer.moving_mean.numpy() == pytest.approx([0.4])
    assert layer.moving_variance.numpy() == pytest.approx([0.9 + 0.1 * 20 / 3])


@pytest.mark.parametrize(("training", "trainable"), [(False, True), (True, False)], ids=["inference", "frozen"])
def test_batch_norm_uses_its_moving_statistics_and_leaves_them(training, trainable):
    layer = batch_norm()
    layer.build((None, 1, 4, 1))
    layer.trainable = trainable
    for variable, value in ((layer.gamma, 3), (layer.beta, 1), (layer.moving_mean, 4), (layer.moving_variance, 4)):
        variable.assign([value])
    y = layer(pixels(4, 6), training=training)
    assert y.numpy().ravel() == pytest.approx([1, 1 + 3 * 2 / math.sqrt(4 + EPSILON)])
    assert (layer.moving_mean.numpy(), layer.moving_variance.numpy()) == ([4], [4])


# slim's resnet_v1_test: an input and a 3x3 kernel of row + column each.
STRIDE_2 = {4: [[48, 37], [37, 22]], 5: [[14, 43, 34], [43, 84, 55], [34, 55, 30]]}
STRIDE_1 = [[14, 28, 43, 26], [28, 48, 66, 37], [43, 66, 84, 46], [26, 37, 46, 22]]


@pytest.mark.parametrize(
    ("side", "stride", "expected"), [(4, 1, STRIDE_1), (4, 2, STRIDE_2[4]), (5, 2, STRIDE_2[5])], ids=str
)
def test_convolutions_pad_as_tensorflow_s_same(side, stride, expected):
    layer = ConvBN(1, 3, stride=stride, activation=None, stddev=1.0, batch_norm=batch_norm())
    depthwise = DepthwiseConvBN(stride=stride, stddev=1.0, batch_norm=batch_norm())
    x = tf.constant(np.add.outer(np.arange(side), np.arange(side))[None, :, :, None], tf.float32)
    kernel = np.add.outer(np.arange(3), np.arange(3))[:, :, None, None]
    for each in (layer, depthwise):
        each.build(x.shape)
        each.kernel.assign(kernel)
    assert layer(x).numpy()[0, :, :, 0] * IDENTITY == pytest.approx(np.array(expected), rel=1e-5)
    clipped = np.minimum(np.array(expected) / IDENTITY, 6)
    assert depthwise(x).numpy()[0, :, :, 0] == pytest.approx(clipped, rel=1e-5)


def test_depthwise_convolution_keeps_channels_apart():
    layer = DepthwiseConvBN(stddev=1.0, batch_norm=batch_norm())
    x = tf.stack([tf.ones([1, 3, 3]), tf.zeros([1, 3, 3])], axis=-1)
    layer.build(x.shape)
    layer.kernel.assign(tf.fill([3, 3, 2, 1], 0.5))
    y = layer(x).numpy()[0, 1, 1] * IDENTITY
    assert y == pytest.approx([4.5, 0])


@pytest.mark.parametrize(
    ("channels", "stride", "adds"), [(8, 1, True), (8, 2, False), (6, 1, False)], ids=["same", "stride", "channels"]
)
def test_residual_adds_its_input_where_the_shapes_allow_it(channels, stride, adds):
    block = InvertedResidual(8, stride=stride, expansion=6, make_batch_norm=batch_norm)
    x = tf.random.stateless_uniform([1, 4, 4, channels], [1, 2])
    block(x)
    block.project.kernel.assign(tf.zeros_like(block.project.kernel))
    y, expansion = block(x)
    assert expansion.shape == (1, 4, 4, 6 * channels)
    if adds:
        assert np.array_equal(y, x)
    else:
        assert y.shape == (1, 4 // stride, 4 // stride, 8)
        assert not y.numpy().any()


def test_first_residual_has_no_expansion():
    block = InvertedResidual(8, stride=1, expansion=1, make_batch_norm=batch_norm)
    x = tf.ones([1, 4, 4, 5])
    assert block(x)[1] is x
    assert len(block.variables) == 2 * 5


@pytest.mark.parametrize(
    ("depth", "multiplier", "scaled"),
    [(32, 1.0, 32), (24, 1.0, 24), (32, 0.5, 16), (24, 0.5, 16), (64, 0.35, 24), (36, 0.75, 32), (1280, 1.4, 1792)],
)
def test_depths_are_scaled_to_multiples_of_8(depth, multiplier, scaled):
    assert scaled_depth(depth, multiplier) == scaled


@pytest.fixture(scope="module")
def half() -> MobileNetV2:
    network = MobileNetV2(depth_multiplier=0.5, make_batch_norm=batch_norm)
    network(tf.zeros([1, 32, 32, 3]))
    return network


@pytest.mark.parametrize(("side", "sides"), [(128, (8, 4)), (299, (19, 10)), (300, (19, 10))])
def test_features_have_strides_16_and_32_rounded_up(half, side, sides):
    shapes = [tuple(features.shape) for features in half(tf.zeros([1, side, side, 3]))]
    assert shapes == [(1, sides[0], sides[0], 288), (1, sides[1], sides[1], 640)]


def test_variables_are_named_as_slim_s(half):
    names = {variable.path: tuple(variable.shape) for variable in half.variables}
    assert len(names) == 52 * 5
    assert names["MobilenetV2/Conv/weights"] == (3, 3, 3, 16)
    assert names["MobilenetV2/expanded_conv/depthwise/depthwise_weights"] == (3, 3, 16, 1)
    assert names["MobilenetV2/expanded_conv_16/project/BatchNorm/moving_variance"] == (160,)
    assert names["MobilenetV2/Conv_1/BatchNorm/beta"] == (640,)


def test_frozen_blocks_are_not_trained_and_keep_their_statistics():
    network = MobileNetV2(depth_multiplier=0.25, make_batch_norm=batch_norm)
    network(tf.zeros([1, 32, 32, 3]))
    network.freeze(0)
    assert len(network.trainable_variables) == 52 * 3
    network.freeze(2)
    frozen = {variable.path for variable in network.variables} - {each.path for each in network.trainable_variables}
    trained = [path for path in frozen if "moving" not in path]
    assert len(trained) == (1 + 2 + 3) * 3
    assert {path.split("/")[1] for path in trained} == {"Conv", "expanded_conv", "expanded_conv_1"}
    before = {variable.path: variable.numpy() for variable in network.non_trainable_variables}
    network(tf.random.stateless_uniform([2, 32, 32, 3], [1, 2]), training=True)
    moved = {
        each.path.split("/")[1]
        for each in network.variables
        if each.path in before and not np.array_equal(before[each.path], each.numpy())
    }
    assert "expanded_conv_2" in moved
    assert not moved & {"Conv", "expanded_conv", "expanded_conv_1"}
