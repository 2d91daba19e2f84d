from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from odml import architectures, config, initial_weights
from odml.architectures import SSD
from odml.errors import WeightsError
from tests import tiny

# Keras' way of saving, which odml does not use, is older than NumPy's protocol for copies.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

BACKBONE_VARIABLES = 52 * 5  # convolutions, each with its kernel and four of its normalisation


@pytest.fixture(scope="module")
def source() -> keras.Model:
    """Keras' own network; its statistics are made random too, for fresh ones hide a mix-up."""
    keras.utils.set_random_seed(3)
    source = keras.applications.MobileNetV2(input_shape=(96, 96, 3), include_top=False, weights=None)
    for variable in source.variables:
        if variable.name in ("gamma", "beta", "moving_mean", "moving_variance"):
            low = -0.5 if variable.name in ("beta", "moving_mean") else 0.5
            variable.assign(np.random.default_rng(len(variable.path)).uniform(low, low + 1, variable.shape))
    return source


@pytest.fixture(scope="module", params=[".weights.h5", ".h5"])
def weights(request: pytest.FixtureRequest, source: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / f"mobilenet_v2{request.param}"
    if request.param == ".weights.h5":
        source.save_weights(path)
    else:
        source.save(path)
    return path


@pytest.fixture(scope="module")
def network() -> SSD:
    data = tiny.configuration().model_dump() | {"image_size": [96, 96], "depth_multiplier": 1.0}
    return architectures.build(config.validate(data, where="test"), 2)


def message_of(network: SSD, weights: str) -> str:
    with pytest.raises(WeightsError) as raised:
        initial_weights.load(network, weights)
    return str(raised.value)


def test_features_are_those_of_keras_network(network, source, weights):
    assert initial_weights.load(network, str(weights)) == BACKBONE_VARIABLES
    images = tf.random.stateless_uniform([2, 96, 96, 3], [1, 2], 0, 255)
    layers = [source.get_layer(name).output for name in ("block_13_expand_relu", "out_relu")]
    expected = keras.Model(source.input, layers)(images * (2 / 255) - 1, training=False)
    for mine, theirs in zip(network(images)["feature_maps"], expected, strict=False):
        assert np.abs(mine - theirs).max() < 1e-4 * np.abs(theirs).max()


def test_heads_keep_their_fresh_weights(network, weights):
    before = network.box_predictors[0].boxes.kernel.numpy()
    initial_weights.load(network, str(weights))
    assert np.array_equal(network.box_predictors[0].boxes.kernel.numpy(), before)


def test_missing_file(network, tmp_path):
    path = tmp_path / "none.h5"
    assert message_of(network, str(path)) == (
        f"{path}: there is no such weights file; pass weights=imagenet or a file's path"
    )


def test_weights_of_another_network(network, tmp_path):
    path = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(path)
    assert message_of(network, str(path)) == (
        f"{path}: holds no weights of MobileNetV2 without its top (A total of 104 objects could not be loaded. Example"
        " error message for object <Conv2D name=Conv1, built=True>:); pass weights=imagenet or another file"
    )


def test_weights_of_another_width(network, weights):
    narrow = architectures.build(tiny.configuration(), 2)
    before = narrow.variables[0].numpy()
    assert message_of(narrow, str(weights)) == (
        f"{weights}: Conv/weights is [3, 3, 3, 32] there and [3, 3, 3, 16] in the network; use a model with the"
        " depth_multiplier of the file"
    )
    assert np.array_equal(narrow.variables[0].numpy(), before)


def test_file_that_holds_no_weights(network, tmp_path):
    path = tmp_path / "text.weights.h5"
    path.write_text("no weights")
    assert message_of(network, str(path)) == (
        f"{path}: holds no weights of MobileNetV2 without its top (Unable to synchronously open file (file signature"
        " not found)); pass weights=imagenet or another file"
    )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of Keras, on a machine that reaches no server."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(initial_weights, "_IMAGENET_ADDRESS", "http://127.0.0.1:1/weights.h5")
    return tmp_path


def test_imagenet_weights_that_cannot_be_downloaded(network, cache):
    path = cache / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    assert message_of(network, "imagenet") == (
        f"weights=imagenet: {path} is not there and cannot be downloaded (URL fetch failure on"
        " http://127.0.0.1:1/weights.h5: None -- [Errno 111] Connection refused); put the file there"
        " (http://127.0.0.1:1/weights.h5), or pass its path as weights="
    )
    assert not path.exists()


@pytest.mark.parametrize("weights", [".h5"], indirect=True)  # as Keras' own file
def test_imagenet_weights_in_the_cache_need_no_download(network, cache, weights):
    path = initial_weights.imagenet_path()
    path.parent.mkdir()
    path.write_bytes(weights.read_bytes())
    assert initial_weights.load(network, "imagenet") == BACKBONE_VARIABLES


def test_cache_is_keras_own():
    assert initial_weights.imagenet_path().parent == Path("~/.keras/models").expanduser()
