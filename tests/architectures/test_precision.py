"""Networks that compute features with 16 bits, against the same ones that do not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from odml import architectures, config
from odml.architectures import Architecture
from odml.config import Configuration
from tests import tiny

BITS = {"mixed_bfloat16": tf.bfloat16, "mixed_float16": tf.float16}
TOLERANCE = 0.05  # measured: 0.03 of the gradients with bfloat16, 0.02 with float16


def faster_rcnn() -> Configuration:
    data = config.load("faster_rcnn_resnet50").model_dump() | {"min_side": 64, "max_side": 64}
    # Processors compute with 16 bits slowly.
    data["roi"]["batch_size"] = 8
    return config.validate(data, where="test")


def build(configuration: Configuration, precision: str = "float32") -> Architecture:
    """Build a network with the same weights for every precision."""
    keras.utils.set_random_seed(1)
    return architectures.build(configuration, 2, precision=precision)


def batch_of(images: int) -> dict[str, tf.Tensor]:
    return {
        "images": tf.random.stateless_uniform([images, 64, 64, 3], [1, 2], 0, 255),
        "boxes": tf.tile([[[0.1, 0.2, 0.6, 0.5], [0.3, 0.3, 0.9, 0.95]]], [images, 1, 1]),
        "classes": tf.tile([[1, 2]], [images, 1]),
        "numbers": tf.range(images, dtype=tf.int64),
    }


def learn(
    network: Architecture, batch: dict[str, tf.Tensor], *, training: bool = True
) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
    """Give the losses of a batch and the gradients of their sum."""
    with tf.GradientTape() as tape:
        losses = network.compute_losses(batch, training=training)
        total = tf.add_n(list(losses.values()))
    return losses, tape.gradient(total, [variable.value for variable in network.trainable_variables])


def numbers(losses: dict[str, tf.Tensor]) -> dict[str, float]:
    return {name: float(loss) for name, loss in losses.items()}


@pytest.fixture(scope="module")
def ssd() -> Architecture:
    return tiny.lively_network()


@pytest.fixture(scope="module", params=list(BITS))
def mixed(request: pytest.FixtureRequest) -> Architecture:
    """The same SSD with mixed precision."""
    return build(tiny.configuration(precision=request.param), request.param)


def test_configured_precision_is_that_of_training_alone():
    network = architectures.build(tiny.configuration(precision="mixed_bfloat16"), 2)
    assert {features.dtype for features in network(tf.zeros([1, 64, 64, 3]))["feature_maps"]} == {tf.float32}


def test_features_have_16_bits_and_what_is_kept_or_predicted_32(mixed):
    precision = mixed.configuration.training.precision
    assert {variable.dtype for variable in mixed.variables} == {"float32"}
    outputs = mixed(tf.zeros([1, 64, 64, 3]))
    assert {features.dtype for features in outputs.pop("feature_maps")} == {BITS[precision]}
    assert {tensor.dtype for tensor in outputs.values()} == {tf.float32}
    assert keras.config.dtype_policy().name == "float32"


def test_losses_and_gradients_are_near_those_of_float32(mixed, ssd):
    batch = batch_of(4)
    for before, after in zip(ssd.variables, mixed.variables, strict=True):
        after.assign(before)
    # By the moving statistics: those of a batch are of 4 values where the map has one cell, and magnify any rounding.
    (losses, gradients), (expected, exact) = (learn(each, batch, training=False) for each in (mixed, ssd))
    assert numbers(losses) == pytest.approx(numbers(expected), rel=TOLERANCE)
    error = tf.linalg.global_norm([gradient - other for gradient, other in zip(gradients, exact, strict=True)])
    assert 0 < error < TOLERANCE * tf.linalg.global_norm(exact)
    assert {gradient.dtype for gradient in gradients} == {tf.float32}
    losses, expected = (each.compute_losses(batch) for each in (mixed, ssd))
    assert numbers(losses) == pytest.approx(numbers(expected), rel=TOLERANCE)


def test_moving_statistics_have_32_bits_of_what_moves_them(mixed):
    before = {variable.path: variable.numpy() for variable in mixed.non_trainable_variables}
    mixed.compute_losses(batch_of(4))
    values = np.concatenate([v.numpy().ravel() for v in mixed.non_trainable_variables])
    rounded = tf.cast(tf.cast(values, BITS[mixed.configuration.training.precision]), tf.float32)
    assert np.mean(values != rounded) > 0.9
    assert all(not np.array_equal(before[v.path], v) for v in mixed.non_trainable_variables)


@pytest.mark.slow
@pytest.mark.parametrize("precision", list(BITS))
def test_faster_rcnn_learns_about_the_same_of_a_picture(precision):
    configuration = faster_rcnn()
    expected = build(configuration).compute_losses(batch_of(1))
    network = build(configuration, precision)
    losses, gradients = learn(network, batch_of(1))
    for name in ("rpn_objectness", "rpn_localization"):
        assert float(losses[name]) == pytest.approx(float(expected[name]), rel=TOLERANCE)
    assert {loss.dtype for loss in losses.values()} == {tf.float32}
    assert {gradient.dtype for gradient in gradients} == {tf.float32}
    assert {variable.dtype for variable in network.variables} == {"float32"}
