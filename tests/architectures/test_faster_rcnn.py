"""Faster R-CNN against the TF Object Detection API's, and its three faces on a small configuration."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

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
def golden_training(rule) -> tuple[dict[str, float], dict[str, float], dict]:
    """The losses of the golden training's batch and the norms of its gradients, and what the original made of it."""
    network = architectures.build(configured(GOLDEN_TRAINING), 3)
    assign_by_rule(network, rule)
    image = rule.image(*rule.IMAGES["synth_300x400"])
    batch = {
        "images": network.resize(tf.constant(image[None])),
        "sizes": tf.constant([[300, 400]]),
        "numbers": tf.constant([0], tf.int64),
        "boxes": tf.constant([[[0.08, 0.24, 0.56, 0.40], [0.20, 0.52, 0.72, 0.68], [0.14, 0.10, 0.95, 0.60]]]),
        "classes": tf.constant([[1, 3, 2]]),
    }
    with tf.GradientTape() as tape:
        losses = network.compute_losses(batch)
        total = tf.add_n(list(losses.values()))
    gradients = tape.gradient(total, [variable.value for variable in network.trainable_variables])
    names = by_slim_name(network.trainable_variables)
    norms = {name: float(tf.norm(gradient)) for name, gradient in zip(names, gradients, strict=True)}
    with np.load(GOLDEN / "train_faster-rcnn-resnet-50_3.npz") as golden:
        return {name: float(loss) for name, loss in losses.items()}, norms, dict(golden)


LOSSES = {
    "rpn_localization": "RPNLoss/localization_loss",
    "rpn_objectness": "RPNLoss/objectness_loss",
    "localization": "BoxClassifierLoss/localization_loss",
    "classification": "BoxClassifierLoss/classification_loss",
}


@needs_golden
def test_losses_of_a_batch_are_the_original_s(golden_training):
    found, _, golden = golden_training
    assert sorted(found) == sorted(LOSSES)
    for ours, theirs in LOSSES.items():
        assert found[ours] == pytest.approx(golden[f"loss/Loss/{theirs}"][0], rel=1e-4), ours


@needs_golden
def test_gradients_of_a_batch_are_the_original_s(golden_training):
    _, norms, golden = golden_training
    expected = dict(zip(golden["grad_names"].tolist(), golden["grad_norm_step0"].tolist(), strict=True))
    assert {name.removesuffix(":0") for name in expected} == set(norms)
    for name, norm in expected.items():
        assert norms[name.removesuffix(":0")] == pytest.approx(norm, rel=5e-3, abs=1e-5), name


def test_images_keep_their_aspect(network):
    def size(height: int, width: int) -> tuple[int, ...]:
        return tuple(network.resize(tf.zeros([height, width, 3])).shape[:2])

    assert size(48, 64) == (96, 128)
    assert size(100, 300) == (53, 160)


# Those of 600 and 1024 are the golden pictures', the others from core/preprocessor_test and image_resizer_builder_test.
@pytest.mark.parametrize(
    ("sides", "size", "expected"),
    [
        ((600, 1024), (300, 400), (600, 800)),
        ((600, 1024), (500, 486), (617, 600)),
        ((600, 1024), (281, 500), (575, 1024)),
        ((600, 1024), (500, 281), (1024, 575)),
        ((50, 100), (60, 40), (75, 50)),
        ((50, 100), (15, 30), (50, 100)),
        ((50, 100), (15, 50), (30, 100)),
        ((320, 320), (312, 312), (320, 320)),
        ((320, 320), (299, 299), (320, 320)),
        ((10, 20), (50, 25), (20, 10)),
    ],
)
def test_shorter_side_is_resized_unless_the_longer_one_exceeds_its_limit(sides, size, expected):
    stand_in = SimpleNamespace(configuration=SimpleNamespace(min_side=sides[0], max_side=sides[1]))
    assert tuple(FasterRCNN.resize(stand_in, tf.zeros([*size, 3])).shape[:2]) == expected


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
        "numbers": tf.range(len(heights), dtype=tf.int64),
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


@pytest.fixture(scope="module")
def decaying() -> FasterRCNN:
    return architectures.build(configured({"min_side": 96, "max_side": 160, "training": {"weight_decay": 1e-4}}), 2)


def test_weight_decay_is_a_loss_of_its_own(network, decaying):
    found = decaying.compute_losses(batch_of(network, boxes=np.zeros([2, 0, 4]), classes=np.zeros([2, 0])))
    kernels = [v.numpy() for v in decaying.trainable_variables if v.name == "weights"]
    assert float(found["regularization"]) == pytest.approx(1e-4 * sum((k**2).sum() for k in kernels) / 2, rel=1e-4)


def test_frozen_stages_are_not_trained(decaying):
    decaying.freeze(1)
    frozen = set(by_slim_name(decaying.variables)) - set(by_slim_name(decaying.trainable_variables))
    kernels = {name.removeprefix("FirstStageFeatureExtractor/resnet_v1_50/") for name in frozen if "weights" in name}
    assert len(kernels) == 1 + 3 * 3 + 1
    assert all(name.startswith(("conv1/", "block1/")) for name in kernels)


# The cases of the original's meta_architectures/faster_rcnn_meta_arch_test_lib: stages that answer what a case says,
# and between them what is ours. Boxes there are in pixels, of pictures of 32 x 32; classes count from 0.
QUARTERS = [[0, 0, 16, 16], [0, 16, 16, 32], [16, 0, 32, 16], [16, 16, 32, 32]]
NOTHING = [0] * 4


class Answers(FasterRCNN):
    """Two stages that answer what they are made with; codes of the first are 0.

    Args:
        grid: the anchors [A, 4] in pixels.
        objectness: logits [B, A, 2] of the first stage.
        classes: logits [B, n, C + 1] of the second.
        codes: of the second, anything that has the shape [B, n, C, 4] when it is spread out.
    """

    def __init__(self, *, grid=QUARTERS, objectness, classes, codes=0, **changes):
        keras.Model.__init__(self)
        weights = {"rpn_localization_weight": 1.0, "localization_weight": 1.0}
        self.configuration = configured({"min_side": 32, "max_side": 32, "losses": weights} | changes)
        self.grid = tf.constant(grid, tf.float32)
        self.objectness = tf.constant(objectness, tf.float32)
        self.class_logits = tf.constant(classes, tf.float32)
        *rows, columns = self.class_logits.shape
        self.num_classes = columns - 1
        self.class_codes = tf.broadcast_to(tf.constant(codes, tf.float32), [*rows, self.num_classes, 4])
        self.built = True

    def _first_stage(self, x, *, training):
        outputs = {
            "rpn_features_to_crop": x,
            "rpn_box_encodings": tf.zeros([*self.objectness.shape[:2], 4]),
            "rpn_objectness_predictions_with_background": self.objectness,
        }
        return outputs, self.grid

    def _second_stage(self, features, boxes, training):
        return {"refined_box_encodings": self.class_codes, "class_predictions_with_background": self.class_logits}


class AnswersOfProposals(Answers):
    """The same with given proposals [B, N, 4], 0..1 of the image, and their counts [B]."""

    def __init__(self, *, proposals, counts, **options):
        super().__init__(**options)
        self.proposals = tf.constant(proposals, tf.float32)
        self.counts = tf.constant(counts)

    def _propose(self, outputs, usable=None):
        return self.proposals, self.counts


def learn(network, *, boxes, classes, side=(32, 32)):
    """Give the losses of black pictures, as many as there are lists of boxes."""
    return network.compute_losses(
        {
            "images": tf.zeros([len(boxes), *side, 3]),
            "sizes": tf.constant([side] * len(boxes)),
            "boxes": tf.reshape(tf.constant(boxes, tf.float32), [len(boxes), -1, 4]),
            "classes": tf.reshape(tf.constant(classes, tf.int32), [len(boxes), -1]),
            "numbers": tf.range(len(boxes), dtype=tf.int64),
        }
    )


# The logits differ so that the order of the proposals does.
OBJECTNESS = [[[-10, 13], [10, -10], [10, -11], [-10, 12]], [[10, -10], [-10, 13], [-10, 12], [10, -11]]]


def test_proposals_come_by_their_objectness():
    network = Answers(objectness=OBJECTNESS, classes=np.zeros([2, 8, 3]), rpn={"max_proposals": 8})
    found = network(tf.zeros([2, 32, 32, 3]), sizes=tf.constant([[32, 32]] * 2))
    assert found["num_proposals"].numpy().tolist() == [4, 4]
    order = np.array([[0, 3, 1, 2], [1, 2, 0, 3]])
    proposals = found["proposal_boxes_normalized"].numpy()
    assert proposals[:, :4] == pytest.approx(np.array(QUARTERS)[order] / 32)
    assert not proposals[:, 4:].any()


def test_padding_of_the_proposals_is_not_detected():
    proposals = [[[1, 1, 2, 3], [0, 0, 1, 1], [0.5, 0.5, 0.6, 0.6]], [[2, 3, 6, 8], [1, 2, 5, 3], NOTHING]]
    size = np.array([36, 48, 36, 48])
    network = AnswersOfProposals(
        proposals=np.array(proposals) / size,
        counts=[3, 2],
        objectness=np.zeros([2, 4, 2]),
        classes=np.ones([2, 3, 3]),
        min_side=36,
        max_side=48,
        detection={"max_detections": 5},
    )
    found = network.detect(tf.zeros([2, 36, 48, 3]))
    assert found["num_detections"].numpy().tolist() == [5, 4]
    assert found["detection_classes"].numpy()[0].tolist() == [1, 1, 1, 2, 2]
    assert found["detection_classes"].numpy()[1, :4].tolist() == [1, 1, 2, 2]
    assert found["detection_scores"].numpy() == pytest.approx(np.array([[1 / 3] * 5, [1 / 3] * 4 + [0]]))
    expected = [[*proposals[0], *proposals[0][:2]], [*proposals[1][:2], *proposals[1][:2], NOTHING]]
    assert found["detection_boxes"].numpy() * size == pytest.approx(np.array(expected), abs=1e-5)
    assert found["raw_detection_boxes"].numpy() * size == pytest.approx(np.array(proposals), abs=1e-5)


def test_first_stage_that_is_right_has_no_loss():
    network = Answers(objectness=OBJECTNESS, classes=np.zeros([2, 4, 3]), rpn={"batch_size": 4, "max_proposals": 4})
    boxes = [[[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], [[0, 0.5, 0.5, 1], [0.5, 0, 1, 0.5]]]
    losses = learn(network, boxes=boxes, classes=[[1, 1], [2, 2]])
    assert float(losses["rpn_localization"]) == 0
    assert float(losses["rpn_objectness"]) == pytest.approx(0, abs=1e-6)


SEEN = [[10, -10, -10], [-10, 10, -10], [-10, -10, 10]]  # logits that say background, the first class and the second
# Huber's loss of a side that should be 4/5 of what it is.
FOUR_FIFTHS = -5 * math.log(0.8) - 0.5


def test_losses_of_two_images_with_padded_proposals():
    network = AnswersOfProposals(
        proposals=np.array([[*QUARTERS[:3], *[NOTHING] * 3], [*QUARTERS[:2], *[NOTHING] * 4]]) / 32,
        counts=[3, 2],
        objectness=[[[-10, 13], [10, -10], [10, -11], [10, -12]]] * 2,
        classes=[[SEEN[1], SEEN[0], SEEN[0], *[[-10] * 3] * 3], [SEEN[2], SEEN[0], *[[-10] * 3] * 4]],
        rpn={"batch_size": 3, "max_proposals": 6},
    )
    losses = learn(network, boxes=[[[0.05, 0.05, 0.45, 0.45]], [[0, 0, 0.5, 0.5]]], classes=[[1], [2]])
    # Two sides of one of three anchors, or proposals; the other image has none.
    expected = {"rpn_localization": FOUR_FIFTHS / 3, "localization": FOUR_FIFTHS / 3}
    assert {name: float(loss) for name, loss in losses.items()} == pytest.approx(
        expected | {"rpn_objectness": 0, "classification": 0}, abs=1e-4
    )


def test_each_proposal_has_the_loss_of_its_own_class():
    # The original's case of hard mining, without it: two objects, 4/5 and 23/25 of their proposals' sides.
    network = AnswersOfProposals(
        proposals=np.array([[*QUARTERS[:3], *[NOTHING] * 3]]) / 32,
        counts=[3],
        objectness=[[[-10, 13], [-10, 12], [10, -11], [10, -12]]],
        classes=[[SEEN[1], SEEN[2], SEEN[0], *[[-10] * 3] * 3]],
        codes=[[[[0], [7]], [[7], [0]], *[[[7], [7]]] * 4]],
        rpn={"batch_size": 4, "max_proposals": 6},
    )
    losses = learn(network, boxes=[[[0.05, 0.05, 0.45, 0.45], [0.02, 0.52, 0.48, 0.98]]], classes=[[1, 2]])
    both = 2 * FOUR_FIFTHS + (5 * math.log(23 / 25)) ** 2
    assert float(losses["localization"]) == pytest.approx(both / 3, abs=1e-5)
    assert float(losses["rpn_localization"]) == pytest.approx(both / 4, abs=1e-5)
    assert float(losses["classification"]) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("wrong", range(6))
def test_anchors_that_cross_the_border_take_no_part_in_training(wrong):
    # Of box_list_ops_test's prune_outside_window, in a picture of 9 x 14: the first, third and fourth are inside.
    grid = [[5, 5, 6, 6], [-1, -2, 4, 5], [2, 3, 5, 9], [0, 0, 9, 14], [-10, -10, -9, -9], [-100, -100, 300, 600]]
    objectness = np.tile([10.0, -10.0], [1, 6, 1])
    objectness[0, wrong] = [-10, 10]
    network = Answers(grid=grid, objectness=objectness, classes=np.zeros([1, 6, 3]), rpn={"max_proposals": 6})
    losses = learn(network, boxes=[[]], classes=[[]], side=(9, 14))
    assert float(losses["rpn_objectness"]) == pytest.approx(20 / 3 if wrong in (0, 2, 3) else 0, abs=1e-4)


def test_image_is_less_its_mean_and_padded_with_it():
    # core/preprocessor_test: pixel 0, 1, 2 and padding around; means are subtracted.
    network = Answers(objectness=np.zeros([1, 4, 2]), classes=np.zeros([1, 12, 3]), rpn={"max_proposals": 12})
    image = tf.constant([[[[0.0, 1, 2], [50, 60, 70]], [[80, 90, 99], [255, 255, 255]]]])
    seen = network(image, sizes=tf.constant([[1, 1]]))["rpn_features_to_crop"].numpy()
    assert seen[0, 0, 0] == pytest.approx([-123.68, 1 - 116.779, 2 - 103.939])
    assert np.count_nonzero(seen) == 3


class Crops(AnswersOfProposals):
    """Gives the crop of its only proposal, of the features [1, h, w, 1], as the second stage's logits."""

    backbone = SimpleNamespace(name="backbone")

    def __init__(self, *, features, **options):
        super().__init__(**options)
        self.features = tf.constant(features, tf.float32)

    def _first_stage(self, x, *, training):
        outputs, grid = super()._first_stage(x, training=training)
        return outputs | {"rpn_features_to_crop": self.features}, grid

    def _second_stage(self, features, boxes, training):
        return FasterRCNN._second_stage(self, features, boxes, training)

    def last_stage(self, x, training):
        return tf.reshape(x, [1, 1, 1, -1])

    def boxes(self, x):
        return tf.zeros([1, self.num_classes * 4])

    def classes(self, x):
        return x


@pytest.mark.parametrize(
    ("side", "box", "expected"),
    [
        (2, [0, 0, 1, 1], [[2.5]]),
        (2, [0, 0, 1, 1], [[1, 1.5, 2], [2, 2.5, 3], [3, 3.5, 4]]),
        (3, [0, 0, 1, 1], [[1, 3], [7, 9]]),
        (3, [0, 0, 0.5, 0.5], [[1, 2], [4, 5]]),
    ],
)
def test_features_of_a_proposal_are_sampled_from_corner_to_corner(side, box, expected):
    # utils/spatial_transform_ops_test: features of 1, 2, 3 and so on.
    network = Crops(
        features=np.arange(1, side**2 + 1).reshape(1, side, side, 1),
        proposals=[[box]],
        counts=[1],
        objectness=np.zeros([1, 4, 2]),
        classes=np.zeros([1, 1, np.size(expected)]),
        roi={"crop_size": len(expected), "pool_size": 1},
    )
    found = network(tf.zeros([1, 32, 32, 3]))["class_predictions_with_background"]
    assert found.numpy().reshape(np.shape(expected)) == pytest.approx(np.array(expected))
