from __future__ import annotations

import shutil

import numpy as np
import onnx
import pytest
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

from odml.errors import ExportError
from odml.forms import FORMS, find_form, label_map_of
from odml.structures import LabelMap
from tests import tiny

ROWS = 100


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.stack([tiny.draw([("red", (10, 10, 50, 40))]), tiny.draw([("green", (30, 5, 70, 55))])])


@pytest.fixture(scope="module")
def expected(exported, pictures):
    return {name: value.numpy() for name, value in exported.network.detect(tf.constant(pictures)).items()}


def read(name, exported):
    return FORMS[name].read(exported.folder / FORMS[name].file)


@pytest.mark.parametrize("name", ["frozen_graph", "saved_model", "onnx"])
def test_graphs_give_what_their_network_gives(exported, pictures, expected, name):
    found = read(name, exported)(pictures)
    for output in ("num_detections", "detection_scores", "detection_classes", "raw_detection_boxes"):
        assert np.asarray(found[output]) == pytest.approx(expected[output], abs=1e-4), output


@pytest.mark.parametrize(
    ("name", "tolerance"), [("tflite_float32", 1e-4), ("tflite_float16", 0.01), ("tflite_int8", 0.1)]
)
def test_tensorflow_lite_gives_the_best_detection_of_each_picture(exported, pictures, expected, name, tolerance):
    found = read(name, exported)(pictures)
    assert {key: value.shape for key, value in found.items()} == {
        "num_detections": (2,),
        "detection_boxes": (2, ROWS, 4),
        "detection_scores": (2, ROWS),
        "detection_classes": (2, ROWS),
    }
    assert found["detection_scores"][:, 0] == pytest.approx(expected["detection_scores"][:, 0], abs=tolerance)
    assert set(np.unique(found["detection_classes"])) <= {1, 2}
    assert found["detection_boxes"].min() >= 0
    assert found["detection_boxes"].max() <= 1
    # Rows that are no detections are padding.
    count = int(found["num_detections"][0])
    assert not found["detection_scores"][0, count:].any()


def test_tensorflow_lite_takes_pictures_of_any_size_as_the_network_does(exported, pictures):
    picture = pictures[:1].repeat(2, axis=1)
    network = exported.network
    resized = tf.cast(network.resize(tf.constant(picture)), tf.uint8).numpy()
    found, of_resized = (read("tflite_float32", exported)(each)["detection_scores"] for each in (picture, resized))
    assert found == pytest.approx(of_resized, abs=0.02)


def test_form_is_told_by_the_name_of_the_file_or_else_by_its_kind(exported, tmp_path):
    assert [find_form(exported.folder / form.file).name for form in FORMS.values()] == list(FORMS)
    shutil.copytree(exported.folder / "saved_model", tmp_path / "1")
    names = {"1": "saved_model", "detect.tflite": "tflite", "ssd.pb": "frozen_graph", "ssd.onnx": "onnx"}
    assert {name: find_form(tmp_path / name).name for name in names} == names
    with pytest.raises(ExportError) as raised:
        find_form(tmp_path / "model.h5")
    assert str(raised.value) == (
        f"{tmp_path}/model.h5: is no form of a detector; name a file or folder that the export wrote (*.pb, *.tflite, "
        "*.onnx, saved_model)"
    )


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("frozen_inference_graph.pb", "{path}: is damaged or no frozen graph; export the detector again"),
        ("model.tflite", "{path}: is no TensorFlow Lite file that runs here ("),
        ("model.onnx", "{path}: is no ONNX file that runs here ("),
        ("saved_model", "{path}: is no SavedModel ("),
    ],
)
def test_damaged_file_is_told(tmp_path, file, message):
    path = tmp_path / file
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ExportError) as raised:
        find_form(path).read(path)
    assert str(raised.value).startswith(message.format(path=path))
    assert "\n" not in str(raised.value)


def test_missing_frozen_graph_is_told(tmp_path):
    with pytest.raises(ExportError) as raised:
        FORMS["frozen_graph"].read(tmp_path / "a.pb")
    assert str(raised.value) == (f"{tmp_path}/a.pb: cannot be read (No such file or directory); name a frozen graph")


def test_tensorflow_lite_file_without_scores_and_count_is_told(exported, tmp_path):
    model = flatbuffer_utils.read_model(str(exported.folder / "model.tflite"))
    model.subgraphs[0].outputs = model.subgraphs[0].outputs[:2]
    flatbuffer_utils.write_model(model, str(tmp_path / "a.tflite"))
    with pytest.raises(ExportError) as raised:
        FORMS["tflite_float32"].read(tmp_path / "a.tflite")
    assert str(raised.value) == (
        f"{tmp_path}/a.tflite: is no detector, which takes a picture and gives boxes, classes, scores and count"
    )


def test_onnx_file_without_detections_is_told(tmp_path):
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y"))
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "negative", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "a.onnx"))
    with pytest.raises(ExportError) as raised:
        FORMS["onnx"].read(tmp_path / "a.onnx")
    assert str(raised.value) == (
        f"{tmp_path}/a.onnx: is no detector, it must take pictures and give num_detections, detection_boxes, "
        "detection_scores, detection_classes"
    )


def test_saved_model_without_detections_is_told(tmp_path):
    module = tf.Module()
    module.double = tf.function(lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    tf.saved_model.save(module, str(tmp_path), signatures=module.double)
    with pytest.raises(ExportError) as raised:
        FORMS["saved_model"].read(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path}: has no signature that takes pictures and gives detections; export the detector again"
    )


def test_onnx_without_its_runtime_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ExportError) as raised:
        FORMS["onnx"].read(tmp_path / "model.onnx")
    assert str(raised.value) == (
        f"{tmp_path}/model.onnx: needs onnxruntime, which is not installed; pip install 'odml[onnx]'"
    )


def test_names_lie_beside_a_detector(exported, tmp_path):
    assert label_map_of(exported.folder) == tiny.LABEL_MAP
    (tmp_path / "labels.txt").write_text("dog\ncat\n")
    assert label_map_of(tmp_path) == LabelMap(("dog", "cat"))
    with pytest.raises(ExportError) as raised:
        label_map_of(tmp_path / "none")
    assert str(raised.value) == (
        f"{tmp_path}/none: has neither labels.pbtxt nor labels.txt; put the names of the classes there"
    )
