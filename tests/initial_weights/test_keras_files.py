"""Keras' weights give our networks the features that they give Keras' own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from odml import architectures, config, initial_weights
from odml.architectures import SSD, FasterRCNN
from odml.errors import WeightsError
from odml.initial_weights import keras_files
from odml.structures import LabelMap
from tests import tiny

# Keras' way of saving, which odml does not use, is older than NumPy's protocol for copies.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

LABEL_MAP = LabelMap(("cat", "dog"))
MEAN = (123.68, 116.779, 103.939)
MOBILENET = 52 * 5  # convolutions, each with its kernel and four of its normalisation
CONV1_TO_CONV4 = 43 * 5
RESNET50 = 53 * 5


def randomized(source: keras.Model) -> keras.Model:
    """Give a network's biases and statistics random values too: fresh ones hide a mix-up."""
    random = np.random.default_rng(3)
    for variable in source.variables:
        low = {"gamma": 0.5, "moving_variance": 0.5, "kernel": None}.get(variable.name, -0.5)
        if low is not None:
            variable.assign(random.uniform(low, low + 1, variable.shape))
    return source


def difference(ours: tf.Tensor, theirs: tf.Tensor) -> float:
    """Give the greatest difference relative to the greatest value."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def pictures(height: int, width: int) -> tf.Tensor:
    return tf.random.stateless_uniform([2, height, width, 3], [1, 2], 0, 255)


def message_of(path: Path) -> str:
    with pytest.raises(WeightsError) as raised:
        keras_files.read(path)
    return str(raised.value)


@pytest.fixture(scope="module")
def ssd() -> SSD:
    data = tiny.configuration().model_dump() | {"image_size": [96, 96], "depth_multiplier": 1.0}
    return architectures.build(config.validate(data, where="test"), 2)


@pytest.fixture(scope="module")
def mobilenet() -> keras.Model:
    keras.utils.set_random_seed(3)
    return randomized(keras.applications.MobileNetV2(input_shape=(96, 96, 3), include_top=False, weights=None))


@pytest.fixture(scope="module", params=[".weights.h5", ".h5"])
def mobilenet_file(request: pytest.FixtureRequest, mobilenet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / f"mobilenet_v2{request.param}"
    save = mobilenet.save_weights if request.param == ".weights.h5" else mobilenet.save
    save(path)
    return path


def test_mobilenet_gives_keras_features(ssd, mobilenet, mobilenet_file):
    head = ssd.box_predictors[0].boxes.kernel.numpy()
    restored = initial_weights.load(ssd, str(mobilenet_file), LABEL_MAP)
    assert restored.restored == MOBILENET
    images = pictures(96, 96)
    layers = [mobilenet.get_layer(name).output for name in ("block_13_expand_relu", "out_relu")]
    expected = keras.Model(mobilenet.input, layers)(images * (2 / 255) - 1, training=False)
    for ours, theirs in zip(ssd(images)["feature_maps"], expected, strict=False):
        assert difference(ours, theirs) < 1e-5
    np.testing.assert_array_equal(ssd.box_predictors[0].boxes.kernel.numpy(), head)


def test_account_of_a_backbone_alone(ssd, mobilenet_file):
    assert initial_weights.load(ssd, str(mobilenet_file), LABEL_MAP).summary() == (
        f"{mobilenet_file}: 260 of 287 variables restored\n"
        "fresh: FeatureExtractor/MobilenetV2/layer_19_1_Conv2d_2_1x1_16 (5),"
        " FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_2_3x3_s2_32_depthwise (5),"
        " FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_2_3x3_s2_32 (5),"
        " BoxPredictor_*/BoxEncodingPredictor (6), BoxPredictor_*/ClassPredictor (6)"
    )


@pytest.mark.parametrize("mobilenet_file", [".h5"], indirect=True)  # as Keras' own file
def test_imagenet_weights_in_keras_cache_need_no_download(ssd, mobilenet_file, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    path = initial_weights.cached()["imagenet"][0]
    path.parent.mkdir()
    path.write_bytes(mobilenet_file.read_bytes())
    assert initial_weights.load(ssd, "imagenet", LABEL_MAP).restored == MOBILENET


@pytest.mark.parametrize("mobilenet_file", [".h5"], indirect=True)
def test_weights_of_another_width(mobilenet_file):
    narrow = architectures.build(tiny.configuration(), 2)
    before = narrow.get_weights()
    with pytest.raises(WeightsError) as raised:
        initial_weights.load(narrow, str(mobilenet_file), LABEL_MAP)
    assert str(raised.value) == (
        f"{mobilenet_file}: fits nothing: 246 of 260 variables of the backbone have another shape, first"
        " FeatureExtractor/MobilenetV2/Conv/weights [3, 3, 3, 32] there, [3, 3, 3, 16] here; pass weights of a network"
        " of this width (SSD: depth_multiplier)"
    )
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(narrow.get_weights(), before, strict=True))


@pytest.fixture(scope="module")
def faster_rcnn() -> FasterRCNN:
    return architectures.build(config.load("faster_rcnn_resnet50"), 2)


@pytest.fixture(scope="module")
def resnet() -> keras.Model:
    keras.utils.set_random_seed(3)
    return randomized(keras.applications.ResNet50(include_top=False, weights=None))


def up_to_conv4(whole: keras.Model) -> keras.Model:
    return keras.Model(whole.input, whole.get_layer("conv4_block6_out").output)


def features(network: FasterRCNN, images: tf.Tensor) -> tf.Tensor:
    return network.backbone(images - MEAN, training=False)


def bgr(images: tf.Tensor) -> tf.Tensor:
    return tf.reverse(images - MEAN, [-1])


@pytest.mark.parametrize("ending", [".weights.h5", ".h5"])
def test_resnet_gives_keras_features(ending, faster_rcnn, resnet, tmp_path):
    path = tmp_path / f"resnet50{ending}"
    save: Callable[[Path], None] = resnet.save_weights if ending == ".weights.h5" else resnet.save
    save(path)
    restored = initial_weights.load(faster_rcnn, str(path), LABEL_MAP)
    assert restored.restored == RESNET50
    # Where conv1's output has an odd side, Keras and slim pad the first max-pooling alike.
    images = pictures(97, 129)
    fourth = up_to_conv4(resnet)(bgr(images), training=False)
    ours = features(faster_rcnn, images)
    assert difference(ours, fourth) < 1e-5
    # Keras' fifth stage has a stride of 2 at its beginning, ours none.
    last = faster_rcnn.last_stage(ours[:, ::2, ::2], training=False)
    assert difference(last, resnet(bgr(images), training=False)) < 1e-5


def test_resnet_up_to_conv4_of_imagenet(faster_rcnn, shared):
    path = shared / "weights/resnet50_caffe_conv1_to_conv4.weights.h5"
    restored = initial_weights.load(faster_rcnn, str(path), LABEL_MAP)
    assert restored.summary().startswith(f"{path}: {CONV1_TO_CONV4} of 275 variables restored\nfresh: Conv (2), First")
    source = up_to_conv4(keras.applications.ResNet50(include_top=False, weights=None))
    source.load_weights(path)
    photo = tf.io.decode_jpeg((shared / "data/voc_sample/images/2007_000027.jpg").read_bytes(), channels=3)
    images = tf.image.resize(photo, [225, 225])[None]
    assert difference(features(faster_rcnn, images), source(bgr(images), training=False)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("last", "layers"), [("conv4_block23_out", 94), ("conv5_block3_out", 104)])
def test_resnet101_has_slim_s_names_and_shapes(last, layers, shared, tmp_path):
    whole = keras.applications.ResNet101(include_top=False, weights=None)
    keras.Model(whole.input, whole.get_layer(last).output).save_weights(tmp_path / "resnet101.weights.h5")
    values = keras_files.read(tmp_path / "resnet101.weights.h5")
    listed = json.loads((shared / "golden/variables_faster-rcnn-resnet-101_3.json").read_text())
    expected = {each["name"]: each["shape"] for each in listed}
    assert len(values) == layers * 5
    assert all(expected[f"FirstStageFeatureExtractor/{name}"] == list(values[name].shape) for name in values)


def test_weights_of_another_network(tmp_path):
    path = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(path)
    assert message_of(path) == (
        f"{path}: holds no weights of Keras' MobileNetV2, ResNet50 or ResNet101 without its top (another number of"
        " layers); pass weights=imagenet or another file"
    )


def test_file_that_holds_no_weights(tmp_path):
    path = tmp_path / "text.weights.h5"
    path.write_text("no weights")
    assert message_of(path) == (
        f"{path}: holds no weights of Keras' MobileNetV2, ResNet50 or ResNet101 without its top (Unable to"
        " synchronously open file (file signature not found)); pass weights=imagenet or another file"
    )
