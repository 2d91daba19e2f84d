"""Faster R-CNN against the TF Object Detection API's, and its three faces on a small configuration."""

from __future__ import annotations

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from odml import architectures, config
from odml.architectures import FasterRCNN, by_slim_name
from odml.config import Configuration
from tests.architectures.goldens import GOLDEN, assign_by_rule, needs_golden

# The golden training's: small, and nothing is drawn at random.
GOLDEN_TRAINING = {
    "min_side": 300,
    "max_side": 512,
    "rpn": {"batch_size": 65536, "max_proposals": 64},
    "roi": {"positive_fraction": 1.0},
    "training": {"learning_rate": 3e-4, "warmup_steps": 0, "schedule": "constant"},
}


def configured(changes: dict, model: str = "faster_rcnn_resnet50") -> Configuration:
    data = config.load(model).model_dump()
    for key, value in changes.items():
        data[key] = data[key] | value if isinstance(value, dict) else value
    return config.validate(data, where="test")


@pytest.fixture(scope="module")
def network() -> FasterRCNN:
    """A network for pictures of a hundred pixels."""
    keras.utils.set_random_seed(1)
    built = architectures.build(configured({"min_side": 96, "max_side": 160, "rpn": {"max_proposals": 12}}), 2)
    for head in (built.boxes, built.classes):
        # Of fresh features, which nothing normalises, they would make scores of exactly 0 and 1.
        head.kernel.assign(head.kernel * 1e-3)
    return built


@pytest.mark.parametrize(
    ("model", "folded"), [("faster_rcnn_resnet50", 29_161_611), ("faster_rcnn_resnet101", 48_127_627)]
)
def test_parameters_with_normalisation_folded_are_those_of_the_model_zoo(model, folded):
    variables = architectures.build(config.load(model), 90).variables
    count = sum(math.prod(variable.shape) for variable in variables if variable.name in ("weights", "biases", "beta"))
    assert count == folded


@needs_golden
def test_variables_are_named_and_shaped_as_in_the_original_s_checkpoint(network):
    listed = json.loads((GOLDEN / "variables_faster-rcnn-resnet-50_3.json").read_text())
    # The original builds a fourth stage in its first network too, and uses it for nothing.
    unused = ("FirstStageFeatureExtractor/resnet_v1_50/block4/", "global_step")
    golden = {each["name"]: each["shape"] for each in listed if not each["name"].startswith(unused)}
    ours = {name: list(variable.shape) for name, variable in by_slim_name(network.variables).items()}
    assert set(ours) == set(golden)
    differing = {name for name in ours if ours[name] != golden[name]}
    assert all(name.startswith("SecondStageBoxPredictor/") for name in differing)  # 3 classes there, 2 here


@pytest.fixture(scope="module")
def golden_training(rule) -> tuple[FasterRCNN, dict, dict]:
    """The network of the golden training, its batch, and what the original made of it."""
    network = architectures.build(configured(GOLDEN_TRAINING), 3)
    assign_by_rule(network, rule)
    image = rule.image(*rule.IMAGES["synth_300x400"])
    batch = {
        "images": network.resize(tf.constant(image[None])),
        "sizes": tf.constant([[300, 400]]),
        "boxes": tf.constant([[[0.08, 0.24, 0.56, 0.40], [0.20, 0.52, 0.72, 0.68], [0.14, 0.10, 0.95, 0.60]]]),
        "classes": tf.constant([[1, 3, 2]]),
    }
    with np.load(GOLDEN / "train_faster-rcnn-resnet-50_3.npz") as golden:
        return network, batch, dict(golden)


LOSSES = {
    "rpn_localization": "RPNLoss/localization_loss",
    "rpn_objectness": "RPNLoss/objectness_loss",
    "localization": "BoxClassifierLoss/localization_loss",
    "classification": "BoxClassifierLoss/classification_loss",
}


@needs_golden
def test_losses_of_a_batch_are_the_original_s(golden_training):
    network, batch, golden = golden_training
    found = network.compute_losses(batch)
    assert sorted(found) == sorted(LOSSES)
    for ours, theirs in LOSSES.items():
        assert float(found[ours]) == pytest.approx(golden[f"loss/Loss/{theirs}"][0], rel=1e-4), ours


@needs_golden
def test_gradients_of_a_batch_are_the_original_s(golden_training):
    network, batch, golden = golden_training
    with tf.GradientTape() as tape:
        total = tf.add_n(list(network.compute_losses(batch).values()))
    gradients = tape.gradient(total, [variable.value for variable in network.trainable_variables])
    names = by_slim_name(network.trainable_variables)
    norms = {name: float(tf.norm(gradient)) for name, gradient in zip(names, gradients, strict=True)}
    expected = dict(zip(golden["grad_names"].tolist(), golden["grad_norm_step0"].tolist(), strict=True))
    assert {name.removesuffix(":0") for name in expected} == set(norms)
    for name, norm in expected.items():
        assert norms[name.removesuffix(":0")] == pytest.approx(norm, rel=5e-3, abs=1e-5), name


def test_images_keep_their_aspect(network):
    def size(height: int, width: int) -> tuple[int, ...]:
        return tuple(network.resize(tf.zeros([height, width, 3])).shape[:2])

    assert size(48, 64) == (96, 128)
    assert size(100, 300) == (53, 160)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(300, 400, (600, 800)), (500, 486, (617, 600)), (281, 500, (575, 1024)), (500, 281, (1024, 575))],
)
def test_standard_network_resizes_as_the_original(height, width, expected):
    # Without building a network: 600 and 1024 are the configuration's.
    stand_in = type("Resizer", (), {"configuration": config.load("faster_rcnn_resnet50")})()
    assert tuple(FasterRCNN.resize(stand_in, tf.zeros([height, width, 3])).shape[:2]) == expected


def test_resized_image_is_not_resized_again(network):
    image = tf.random.stateless_uniform([281, 500, 3], [1, 2], maxval=255.0)
    once = network.resize(image)
    assert np.array_equal(network.resize(once), once)


def test_raw_outputs_have_the_shapes_that_they_promise(network):
    raw = network(tf.zeros([2, 96, 128, 3], tf.uint8))
    assert {name: tuple(tensor.shape) for name, tensor in raw.items()} == {
        "rpn_features_to_crop": (2, 6, 8, 1024),
        "rpn_box_predictor_features": (2, 6, 8, 512),
        "anchors": (2, 6 * 8 * 12, 4),
        "rpn_box_encodings": (2, 6 * 8 * 12, 4),
        "rpn_objectness_predictions_with_background": (2, 6 * 8 * 12, 2),
        "proposal_boxes_normalized": (2, 12, 4),
        "num_proposals": (2,),
        "refined_box_encodings": (2, 12, 2, 4),
        "class_predictions_with_background": (2, 12, 3),
        "image_sizes": (2, 2),
    }
    assert raw["image_sizes"].numpy().tolist() == [[96, 128], [96, 128]]
    assert raw["anchors"].numpy().min() >= 0
    assert raw["anchors"].numpy().max() <= 1


def test_detections_are_the_contract_s(network):
    images = tf.random.stateless_uniform([2, 60, 80, 3], [1, 2], maxval=255.0)
    found = network.detect(images)
    assert found["detection_boxes"].shape == (2, 300, 4)
    assert found["raw_detection_boxes"].shape == (2, 12, 4)
    assert found["raw_detection_scores"].shape == (2, 12, 3)
    scores = found["detection_scores"][0, : int(found["num_detections"][0])].numpy()
    assert len(scores)
    assert list(scores) == sorted(scores, reverse=True)
    assert np.sum(found["raw_detection_scores"], axis=-1) == pytest.approx(np.ones([2, 12]), abs=1e-5)


def batch_of(network: FasterRCNN, *, boxes, classes, heights=(96, 96)) -> dict[str, tf.Tensor]:
    images = tf.random.stateless_uniform([len(heights), 96, 128, 3], [3, 4], maxval=255.0)
    return {
        "images": images,
        "sizes": tf.constant([[height, 128] for height in heights]),
        "boxes": tf.constant(boxes, tf.float32),
        "classes": tf.constant(classes, tf.int32),
    }


def test_padding_of_an_image_has_no_part_in_its_size_and_proposals(network):
    image = tf.random.stateless_uniform([1, 80, 128, 3], [3, 4], maxval=255.0)
    padded = tf.pad(image, [[0, 0], [0, 16], [0, 0], [0, 0]], constant_values=77.0)
    cut = network(padded, sizes=tf.constant([[80, 128]]))
    zero = network(tf.pad(image, [[0, 0], [0, 16], [0, 0], [0, 0]]), sizes=tf.constant([[80, 128]]))
    assert np.array_equal(cut["rpn_box_encodings"], zero["rpn_box_encodings"])
    # 80 of 96 rows: the anchor of 64 x 64 pixels around pixel (32, 48).
    anchor = cut["anchors"].numpy().reshape(6, 8, 12, 4)[2, 3, 4]
    assert anchor == pytest.approx([0, 16 / 128, 64 / 80, 80 / 128])


def test_images_of_several_sizes_are_one_batch(network):
    losses = network.compute_losses(
        batch_of(network, boxes=[[[0.1, 0.1, 0.8, 0.6]], [[0, 0, 0, 0]]], classes=[[2], [0]], heights=(96, 80))
    )
    assert sorted(losses) == sorted(LOSSES)
    assert all(np.isfinite(float(loss)) for loss in losses.values())


def test_image_without_objects_is_learned_as_background(network):
    losses = network.compute_losses(batch_of(network, boxes=np.zeros([2, 0, 4]), classes=np.zeros([2, 0])))
    assert float(losses["localization"]) == 0
    assert float(losses["rpn_localization"]) == 0
    assert float(losses["classification"]) > 0
    assert float(losses["rpn_objectness"]) > 0


def test_weight_decay_is_a_loss_of_its_own(network):
    decaying = architectures.build(configured({"min_side": 96, "max_side": 160, "training": {"weight_decay": 1e-4}}), 2)
    found = decaying.compute_losses(batch_of(network, boxes=np.zeros([2, 0, 4]), classes=np.zeros([2, 0])))
    kernels = [v.numpy() for v in decaying.trainable_variables if v.name == "weights"]
    assert float(found["regularization"]) == pytest.approx(1e-4 * sum((k**2).sum() for k in kernels) / 2, rel=1e-4)


def test_frozen_stages_are_not_trained():
    network = architectures.build(configured({"min_side": 96, "max_side": 160}), 2)
    network.freeze(1)
    frozen = set(by_slim_name(network.variables)) - set(by_slim_name(network.trainable_variables))
    kernels = {name.removeprefix("FirstStageFeatureExtractor/resnet_v1_50/") for name in frozen if "weights" in name}
    assert len(kernels) == 1 + 3 * 3 + 1
    assert all(name.startswith(("conv1/", "block1/")) for name in kernels)
