"""Every form that weights come in, with two variables of a network in it."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from tensorflow.core.protobuf import saver_pb2

from odml.errors import WeightsError
from odml.initial_weights import sources
from odml.structures import LabelMap
from tests.tf1_files import write_checkpoint, write_frozen_graph

KERNEL = "FeatureExtractor/MobilenetV2/Conv/weights"
BIAS = "BoxPredictor_0/ClassPredictor/biases"
LABELS = LabelMap(("cat", "dog"))


def values(number: float) -> dict[str, np.ndarray]:
    """Give the variables, filled with a number that says which file they come from, and some of a training."""
    return {
        KERNEL: np.full((1, 1, 3, 2), number, np.float32),
        BIAS: np.full(9, number, np.float32),
        f"{KERNEL}/RMSProp": np.zeros(1, np.float32),
        f"{KERNEL}/ExponentialMovingAverage": np.zeros(1, np.float32),
        "global_step": np.array(7, np.int64),
    }


def numbers_of(source: sources.Source) -> dict[str, float]:
    assert all((value == value.flat[0]).all() for value in source.values.values())
    return {name: float(value.flat[0]) for name, value in source.values.items()}


def message_of(path: Path) -> str:
    with pytest.raises(WeightsError) as raised:
        sources.read(path)
    return str(raised.value)


def pack(folder: Path, archive: Path) -> None:
    with tarfile.open(archive, "w:gz" if archive.name.endswith("gz") else "w") as file:
        file.add(folder, folder.name)


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A folder as the released detectors' tarballs hold it."""
    folder = tmp_path / "ssd_mobilenet_v2_coco_2018_03_29"
    write_checkpoint(folder / "model.ckpt", values(5))
    write_frozen_graph(folder / "frozen_inference_graph.pb", values(6))
    (folder / "saved_model" / "variables").mkdir(parents=True)
    return folder


def test_folder_with_a_checkpoint(released):
    source = sources.read(released)
    assert source.where == f"{released}/model.ckpt"
    assert numbers_of(source) == {KERNEL: 5, BIAS: 5}
    assert source.values[KERNEL].shape == (1, 1, 3, 2)
    assert source.names is None


@pytest.mark.parametrize("ending", ["", ".index", ".meta", ".data-00000-of-00001"])
def test_prefix_of_a_checkpoint_or_one_of_its_files(ending, released):
    source = sources.read(released / f"model.ckpt{ending}")
    assert (source.where, numbers_of(source)) == (f"{released}/model.ckpt", {KERNEL: 5, BIAS: 5})


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar"])
def test_tarball(name, released, tmp_path):
    archive = tmp_path / name
    pack(released, archive)
    source = sources.read(archive)
    assert source.where == f"{archive}/ssd_mobilenet_v2_coco_2018_03_29/model.ckpt"
    assert numbers_of(source) == {KERNEL: 5, BIAS: 5}


def test_frozen_graph(released):
    source = sources.read(released / "frozen_inference_graph.pb")
    assert source.where == f"{released}/frozen_inference_graph.pb"
    assert numbers_of(source) == {KERNEL: 6, BIAS: 6}


def test_folder_with_a_frozen_graph_only(released):
    for path in released.glob("model.ckpt.*"):
        path.unlink()
    assert numbers_of(sources.read(released)) == {KERNEL: 6, BIAS: 6}


def test_latest_step_of_a_training_s_folder(tmp_path):
    for step in (9, 100, 20):
        write_checkpoint(tmp_path / f"model.ckpt-{step}", values(step))
    write_checkpoint(tmp_path / "model.ckpt", values(0))  # what that training had started from
    assert numbers_of(sources.read(tmp_path)) == {KERNEL: 100, BIAS: 100}
    assert numbers_of(sources.read(tmp_path / "model.ckpt-20")) == {KERNEL: 20, BIAS: 20}


def test_slim_s_classification_checkpoint_of_the_first_format(tmp_path):
    slim = {
        "resnet_v1_50/conv1/weights": np.ones(2, np.float32),
        "resnet_v1_50/block4/unit_1/bottleneck_v1/conv1/weights": np.full(2, 2, np.float32),
        "global_step": np.array(7, np.int64),
    }
    write_checkpoint(tmp_path / "resnet_v1_50.ckpt", slim, version=saver_pb2.SaverDef.V1)
    expected = {
        "FirstStageFeatureExtractor/resnet_v1_50/conv1/weights": 1,
        "SecondStageFeatureExtractor/resnet_v1_50/block4/unit_1/bottleneck_v1/conv1/weights": 2,
    }
    assert numbers_of(sources.read(tmp_path / "resnet_v1_50.ckpt")) == expected
    assert numbers_of(sources.read(tmp_path)) == expected


def test_checkpoint_of_another_name(tmp_path):
    write_checkpoint(tmp_path / "mobilenet_v2_1.0_224.ckpt", {"MobilenetV2/Conv/weights": np.ones(2, np.float32)})
    assert numbers_of(sources.read(tmp_path)) == {KERNEL: 1}


@pytest.mark.parametrize("name", ["labels.pbtxt", "label_map.pbtxt"])
def test_label_map_beside_the_weights(name, released):
    (released / name).write_text(LABELS.to_pbtxt())
    assert sources.read(released).names == ("cat", "dog")
    assert sources.read(released / "frozen_inference_graph.pb").names == ("cat", "dog")


def test_description_beside_the_weights(released):
    (released / "model.json").write_text(json.dumps({"label_map": ["cow"]}))
    (released / "labels.pbtxt").write_text(LABELS.to_pbtxt())
    assert sources.read(released).names == ("cow",)


@pytest.mark.parametrize("text", ["{", "[]", '{"label_map": 3}', '{"label_map": ["a", "a"]}', '{"format": "other"}'])
def test_description_that_is_not_ours(text, released):
    (released / "model.json").write_text(text)
    assert sources.read(released).names is None


def test_label_map_without_names(released):
    (released / "labels.pbtxt").write_text("")
    assert sources.read(released).names is None


def test_label_map_with_gaps_names_each_class_by_its_id(released):
    (released / "labels.pbtxt").write_text("item { id: 1 name: 'person' }\nitem { id: 4 name: 'stop sign' }\n")
    assert sources.read(released).names == ("person", "unused 2", "unused 3", "stop sign")


def test_nothing_there(tmp_path):
    path = tmp_path / "none.ckpt"
    assert message_of(path) == (
        f"{path}: there is no such weights file; pass weights=coco, imagenet, or the path of a checkpoint, a frozen"
        " graph or a Keras file"
    )


def test_folder_without_weights(tmp_path):
    (tmp_path / "pictures").mkdir()
    assert message_of(tmp_path) == (
        f"{tmp_path}: holds no weights; expected are model.ckpt.index with model.ckpt.data-*, model.ckpt-STEP.*,"
        " frozen_inference_graph.pb or a Keras file (.h5)"
    )


def test_tarball_without_weights(tmp_path):
    (tmp_path / "pictures").mkdir()
    pack(tmp_path / "pictures", tmp_path / "pictures.tar.gz")
    assert message_of(tmp_path / "pictures.tar.gz").startswith(f"{tmp_path}/pictures.tar.gz: holds no weights; ")


def test_torn_tarball(released, tmp_path):
    archive = tmp_path / "a.tar.gz"
    pack(released, archive)
    archive.write_bytes(archive.read_bytes()[:200])
    assert message_of(archive) == (
        f"{archive}: cannot be unpacked (Compressed file ended before the end-of-stream marker was reached); fetch it"
        " again"
    )


def test_file_that_is_no_tarball(tmp_path):
    archive = tmp_path / "a.tar.gz"
    archive.write_text("a page that says that you must log in")
    assert (
        message_of(archive) == f"{archive}: cannot be unpacked (file could not be opened successfully); fetch it again"
    )


def test_tarball_that_would_write_elsewhere(tmp_path):
    archive = tmp_path / "a.tar"
    (tmp_path / "file").write_text("text")
    with tarfile.open(archive, "w") as file:
        file.add(tmp_path / "file", "../outside")
    assert message_of(archive).startswith(f"{archive}: cannot be unpacked ('../outside' would be extracted to ")


def test_file_that_is_no_checkpoint(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_text("a picture")
    assert message_of(path) == (
        f"{path}: is no checkpoint that can be read (Unable to open table file {path}: DATA_LOSS: file is too short to"
        " be an sstable: perhaps your file is in a different file format and you need to use a different restore"
        " operator?); see that its .index and .data-* files are whole, or use another"
    )


def test_checkpoint_without_its_data(released):
    data = released / "model.ckpt.data-00000-of-00001"
    data.unlink()
    assert message_of(released) == (
        f"{released}/model.ckpt: is no checkpoint that can be read ({data}; No such file or directory); see that its"
        " .index and .data-* files are whole, or use another"
    )


def test_file_that_is_no_graph(tmp_path):
    path = tmp_path / "frozen_inference_graph.pb"
    path.write_text("no graph")
    assert message_of(path).startswith(f"{path}: is no frozen graph (Error parsing message")


def test_graph_of_folded_constants(tmp_path):
    path = tmp_path / "frozen_inference_graph.pb"
    write_frozen_graph(path, {"FeatureExtractor/MobilenetV2/Conv/mul": np.zeros(2, np.float32)})
    assert message_of(path) == (
        f"{path}: its constants are folded and do not carry the variables' names; pass the model.ckpt that was exported"
        " with it"
    )


def test_graph_of_folded_constants_beside_its_checkpoint(released):
    path = released / "frozen_inference_graph.pb"
    write_frozen_graph(path, {"FeatureExtractor/MobilenetV2/Conv/mul": np.zeros(2, np.float32)})
    source = sources.read(path)
    assert (source.where, numbers_of(source)) == (f"{released}/model.ckpt", {KERNEL: 5, BIAS: 5})
