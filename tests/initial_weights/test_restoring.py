"""Weights into a tiny SSD: all of them, of other classes, of the backbone alone, and what does not fit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from odml import architectures, checkpoints, config, initial_weights
from odml.architectures import Architecture
from odml.errors import WeightsError
from odml.export import export
from odml.structures import LabelMap
from odml.training import make_optimizer
from tests import tiny
from tests.tf1_files import values_of, write_checkpoint, write_frozen_graph

TOTAL = 287  # variables of the tiny network
HEADS = tuple(f"BoxPredictor_{k}/ClassPredictor/{name}" for k in range(3) for name in ("weights", "biases"))
ANIMALS = LabelMap(("cat", "dog", "cow"))
MINE = LabelMap(("DOG", "fox"))


def built(num_classes: int, seed: int, **changes: object) -> Architecture:
    tf.random.set_seed(seed)
    data = tiny.configuration().model_dump() | changes
    return architectures.build(config.validate(data, where="test"), num_classes)


@pytest.fixture(scope="module")
def trained() -> Architecture:
    """A network of the classes cat, dog and cow; no variable of it is as it was made."""
    network = built(3, 1)
    random = np.random.default_rng(1)
    for variable in network.variables:
        variable.assign(random.uniform(0.01, 0.1, variable.shape))
    return network


@pytest.fixture(scope="module")
def network() -> Architecture:
    """A fresh one of two classes."""
    return built(2, 2)


@pytest.fixture(scope="module")
def of_three() -> Architecture:
    """A fresh one of three classes."""
    return built(3, 3)


@pytest.fixture(autouse=True)
def fresh(network: Architecture, of_three: Architecture) -> Iterator[dict[str, np.ndarray]]:
    """The values of the network of two classes before a test; after it both have theirs again."""
    before = [(each, each.get_weights()) for each in (network, of_three)]
    yield values_of(network)
    for each, weights in before:
        each.set_weights(weights)


@pytest.fixture
def folder(trained: Architecture, tmp_path: Path) -> Path:
    """The trained network as a TF1 checkpoint, with the names of its classes."""
    training = {"global_step": np.array(3, np.int64), "Conv/weights/RMSProp": np.zeros(1, np.float32)}
    write_checkpoint(tmp_path / "model.ckpt-3", values_of(trained) | training)
    (tmp_path / "labels.pbtxt").write_text(ANIMALS.to_pbtxt())
    return tmp_path


def message_of(network: Architecture, path: Path, label_map: LabelMap = MINE) -> str:
    before = values_of(network)
    with pytest.raises(WeightsError) as raised:
        initial_weights.load(network, str(path), label_map)
    after = values_of(network)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    return str(raised.value)


def same(network: Architecture, expected: Architecture) -> bool:
    ours, theirs = values_of(network), values_of(expected)
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_same_classes(of_three, trained, folder):
    restored = initial_weights.load(of_three, str(folder), ANIMALS)
    assert same(of_three, trained)
    assert (restored.restored, restored.total, restored.partly, restored.missing) == (TOTAL, TOTAL, (), ())
    assert restored.summary() == f"{folder}/model.ckpt-3: 287 of 287 variables restored"


def test_other_classes(trained, network, fresh, folder):
    restored = initial_weights.load(network, str(folder), MINE)
    assert (restored.restored, restored.total, restored.missing) == (TOTAL, TOTAL, ())
    assert set(restored.partly) == set(HEADS)
    ours, theirs = values_of(network), values_of(trained)
    for name in ours.keys() - set(HEADS):
        np.testing.assert_array_equal(ours[name], theirs[name], name)
    for name in HEADS:
        new, before, old = (values[name].reshape(-1, count) for values, count in ((ours, 3), (fresh, 3), (theirs, 4)))
        np.testing.assert_array_equal(new[:, :2], old[:, [0, 2]], name)  # background and dog
        np.testing.assert_array_equal(new[:, 2], before[:, 2], name)  # fox
    assert restored.summary() == (
        f"{folder}/model.ckpt-3: 287 of 287 variables restored\n"
        "of them 6 partly: class columns carried over for DOG; fresh for fox"
    )


def test_classes_in_another_order(of_three, trained, folder):
    restored = initial_weights.load(of_three, str(folder), LabelMap(("cow", "cat", "dog")))
    assert (restored.restored, restored.partly) == (TOTAL, ())
    biases = "BoxPredictor_2/ClassPredictor/biases"
    ours, theirs = (values_of(each)[biases].reshape(6, 4) for each in (of_three, trained))
    np.testing.assert_array_equal(ours, theirs[:, [0, 3, 1, 2]])


def test_classes_without_names(network, folder):
    (folder / "labels.pbtxt").unlink()
    assert initial_weights.load(network, str(folder), MINE).summary() == (
        f"{folder}/model.ckpt-3: 287 of 287 variables restored\n"
        "of them 6 partly: class columns carried over for none; fresh for DOG, fox\n"
        "its 3 classes have no names; lay its labels.pbtxt beside it to carry them over"
    )


def test_as_many_classes_without_names(of_three, trained, folder):
    (folder / "labels.pbtxt").unlink()
    assert initial_weights.load(of_three, str(folder), LabelMap(("a", "b", "c"))).summary() == (
        f"{folder}/model.ckpt-3: 287 of 287 variables restored\n"
        "its classes have no names; they are taken for the same classes in the same order"
    )
    assert same(of_three, trained)


def test_frozen_graph_of_tensorflow_1(of_three, trained, tmp_path):
    write_frozen_graph(tmp_path / "frozen_inference_graph.pb", values_of(trained))
    (tmp_path / "model.json").write_text(json.dumps({"label_map": list(ANIMALS.names)}))
    restored = initial_weights.load(of_three, str(tmp_path / "frozen_inference_graph.pb"), ANIMALS)
    assert (restored.restored, restored.partly) == (TOTAL, ())
    assert same(of_three, trained)


@pytest.fixture(scope="module")
def own(trained: Architecture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``train`` and ``graph``, as our own runs leave them."""
    folder = tmp_path_factory.mktemp("own")
    optimizer = make_optimizer(trained.configuration.training, trained, steps=None)
    saver = checkpoints.Checkpoints(folder / "train", trained, ANIMALS, optimizer=optimizer)
    for step in (9, 10):
        saver.save(step)
    export(trained, folder / "graph", label_map=ANIMALS, step=10)
    return folder


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("train", "train/model.ckpt-10"),
        ("train/model.ckpt-9", "train/model.ckpt-9"),
        ("graph", "graph/model.ckpt"),
        ("graph/frozen_inference_graph.pb", "graph/model.ckpt"),
    ],
)
def test_our_own_folders(path, where, own, of_three, trained):
    restored = initial_weights.load(of_three, str(own / path), ANIMALS)
    assert (restored.restored, restored.partly, restored.source) == (TOTAL, (), str(own / where))
    assert same(of_three, trained)


def test_slim_s_imagenet_network(trained, network, fresh, tmp_path):
    prefix = "FeatureExtractor/"
    backbone = {
        name.removeprefix(prefix): value
        for name, value in values_of(trained).items()
        if name.startswith(f"{prefix}MobilenetV2/") and "/layer_19_" not in name
    }
    logits = {"MobilenetV2/Logits/Conv2d_1c_1x1/weights": np.zeros((1, 1, 1280, 1001), np.float32)}
    write_checkpoint(tmp_path / "mobilenet_v2_1.0_224.ckpt", backbone | logits)
    restored = initial_weights.load(network, str(tmp_path), MINE)
    assert (restored.restored, restored.classes) == (260, None)
    assert len(restored.missing) == 27
    ours = values_of(network)
    for name, value in backbone.items():
        np.testing.assert_array_equal(ours[prefix + name], value, name)
    for name in restored.missing:
        np.testing.assert_array_equal(ours[name], fresh[name], name)


def test_heads_of_another_shape_stay_fresh(trained, fresh, folder):
    """As with weights of the other topology: kernels of 3 x 3 and depthwise extra layers there."""
    network = built(3, 6, head_kernel_size=1, depthwise_extra_layers=False)
    restored = initial_weights.load(network, str(folder), ANIMALS)
    assert restored.summary().split("\n")[1:] == [
        "fresh: FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_2_3x3_s2_16 (1), BoxPredictor_*/BoxEncodingPredictor"
        " (3), BoxPredictor_*/ClassPredictor (3)",
        "of another shape there: 7, first FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_2_3x3_s2_16/weights"
        " [1, 1, 8, 16] there, [3, 3, 8, 16] here",
    ]
    assert restored.restored + 7 == restored.total


def test_checkpoint_of_another_width(folder):
    network = built(3, 6, depth_multiplier=0.5)
    assert message_of(network, folder, ANIMALS) == (
        f"{folder}/model.ckpt-3: fits nothing: 161 of 275 variables of the backbone have another shape, first"
        " FeatureExtractor/MobilenetV2/expanded_conv_6/project/weights [1, 1, 96, 16] there, [1, 1, 96, 32] here; pass"
        " weights of a network of this width (SSD: depth_multiplier)"
    )


def test_checkpoint_of_another_network(network, tmp_path):
    values = {
        "resnet_v1_101/conv1/weights": np.zeros((7, 7, 3, 64), np.float32),
        "Conv/biases": np.zeros(512, np.float32),
    }
    write_checkpoint(tmp_path / "model.ckpt", values)
    assert message_of(network, tmp_path) == (
        f"{tmp_path}/model.ckpt: fits nothing: it has no variables of mobilenet_v2 as ssd has it, but 1 such as"
        " FirstStageFeatureExtractor/resnet_v1_101/conv1/weights; pass weights of this network"
    )


def test_checkpoint_of_another_program(network, tmp_path):
    write_checkpoint(tmp_path / "model.ckpt", {"dense/kernel": np.zeros(3, np.float32)})
    assert message_of(network, tmp_path) == (
        f"{tmp_path}/model.ckpt: fits nothing: it has no variables of mobilenet_v2 as ssd has it, nor of any network"
        " that is known here; pass weights of this network"
    )


def test_released_detector_comes_from_the_cache(trained, network, tmp_path, monkeypatch):
    """As far as the network: that the file is downloaded, ``test_published`` says."""
    write_checkpoint(tmp_path / "released/model.ckpt", values_of(trained))
    monkeypatch.setattr("odml.initial_weights.published.fetch", lambda weights, _: tmp_path / "released")
    restored = initial_weights.load(network, "coco", MINE)
    assert (restored.restored, restored.source) == (TOTAL, f"{tmp_path}/released/model.ckpt")
