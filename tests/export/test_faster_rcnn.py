"""A two-stage detector through the whole export: ResNet-50 on small pictures, its weights drawn at random."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from odml import architectures, config
from odml.architectures import Architecture
from odml.detector import Detector
from odml.export import Parity, export
from odml.export.folder import drawn_batches
from odml.structures import LabelMap

v1 = tf.compat.v1
LABEL_MAP = LabelMap(("a", "b", "c"))
PROPOSALS, DETECTIONS = 20, 15
NAMES = (
    *("num_detections", "detection_boxes", "detection_scores", "detection_classes"),
    *("raw_detection_boxes", "raw_detection_scores", "detection_multiclass_scores"),
)


@pytest.fixture(scope="module")
def network() -> Architecture:
    data = config.load("faster_rcnn_resnet50").model_dump() | {"min_side": 128, "max_side": 192}
    data["rpn"] |= {"max_proposals": PROPOSALS}
    data["detection"] |= {"max_detections": DETECTIONS}
    keras.utils.set_random_seed(5)
    network = architectures.build(config.validate(data, where="test"), len(LABEL_MAP))
    for variable in network.variables:
        # Fresh bottlenecks double the variance each, and the pictures' own is large: codes of boxes would overflow.
        if variable.path.endswith("conv3/BatchNorm/gamma"):
            variable.assign(tf.fill(variable.shape, 0.2))
        elif variable.path.endswith("resnet_v1_50/conv1/BatchNorm/gamma"):
            variable.assign(tf.fill(variable.shape, 0.02))
    return network


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory) -> tuple[Path, Parity]:
    folder = tmp_path_factory.mktemp("two_stage") / "graph"
    return folder, export(network, folder, label_map=LABEL_MAP, step=2)


@pytest.fixture(scope="module")
def folder(exported) -> Path:
    return exported[0]


@pytest.fixture(scope="module")
def frozen(folder):
    return v1.GraphDef.FromString((folder / "frozen_inference_graph.pb").read_bytes())


@pytest.fixture(scope="module")
def expected(network):
    """What the network gives for a batch of two and for a picture of another size."""
    return [
        {name: value.numpy() for name, value in network.detect(tf.constant(batch)).items()} for batch in drawn_batches()
    ]


def run(session: v1.Session) -> list[dict[str, np.ndarray]]:
    fetches = {name: f"{name}:0" for name in NAMES}
    return [session.run(fetches, {"image_tensor:0": batch}) for batch in drawn_batches()]


def assert_same(found: list[dict[str, np.ndarray]], expected: list[dict[str, np.ndarray]]) -> None:
    for have, want in zip(found, expected, strict=True):
        assert set(have) == set(want)
        for name, values in want.items():
            assert have[name] == pytest.approx(values, abs=1e-4), name


def test_graph_gives_what_the_network_gives(exported):
    _, parity = exported
    assert parity.rows == parity.paired == 3 * PROPOSALS
    assert parity.raw_difference < 1e-4
    assert parity.compared == parity.matched > 10


def test_plain_session_detects_in_batches_and_pictures_of_any_size(frozen, expected):
    with v1.Session(graph=tf.Graph()) as session:
        tf.graph_util.import_graph_def(frozen, name="")
        assert_same(run(session), expected)
    two = expected[0]
    assert {name: two[name].shape for name in NAMES} == {
        "num_detections": (2,),
        "detection_boxes": (2, DETECTIONS, 4),
        "detection_scores": (2, DETECTIONS),
        "detection_classes": (2, DETECTIONS),
        "raw_detection_boxes": (2, PROPOSALS, 4),
        "raw_detection_scores": (2, PROPOSALS, 4),
        "detection_multiclass_scores": (2, DETECTIONS, 4),
    }


def test_saved_model_answers(folder, expected):
    signature = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    batches = map(tf.constant, drawn_batches())
    assert_same([{name: value.numpy() for name, value in signature(inputs=each).items()} for each in batches], expected)


def test_checkpoint_restores_into_its_meta_graph(folder, expected):
    with v1.Session(graph=tf.Graph()) as session:
        saver = v1.train.import_meta_graph(str(folder / "model.ckpt.meta"))
        saver.restore(session, v1.train.latest_checkpoint(str(folder)))
        assert_same(run(session), expected)


def test_checkpoint_has_the_original_s_names(folder, network):
    shapes = dict(tf.train.list_variables(str(folder)))
    assert len(shapes) == len(network.variables)
    assert shapes["FirstStageFeatureExtractor/resnet_v1_50/block1/unit_1/bottleneck_v1/conv1/weights"] == [1, 1, 64, 64]
    assert shapes["SecondStageBoxPredictor/ClassPredictor/biases"] == [4]


def test_graph_has_only_what_old_readers_know(frozen):
    assert not frozen.library.function
    assert not {node.device for node in frozen.node} - {""}
    assert not [name for node in frozen.node for name in node.attr if name.startswith("_")]
    operations = {node.op for node in frozen.node}
    assert not operations & {"Enter", "Switch", "While", "StatelessWhile", "PartitionedCall"}
    assert [node.name for node in frozen.node if node.op == "Placeholder"] == ["image_tensor"]


def test_operations_stand_where_the_original_has_them(frozen):
    names = {node.name: node.op for node in frozen.node if node.op != "Const"}
    first, second = "FirstStageFeatureExtractor/resnet_v1_50", "SecondStageFeatureExtractor/resnet_v1_50"
    expected = {
        "Preprocessor/sub": "Sub",
        f"{first}/conv1/Conv2D": "Conv2D",
        f"{first}/pool1/MaxPool": "MaxPool",
        f"{first}/block3/unit_6/bottleneck_v1/conv3/BiasAdd": "BiasAdd",
        f"{first}/block3/unit_6/bottleneck_v1/Relu": "Relu",
        "Conv/Relu6": "Relu6",
        "FirstStageBoxPredictor/BoxEncodingPredictor/BiasAdd": "BiasAdd",
        "FirstStageBoxPredictor/ClassPredictor/BiasAdd": "BiasAdd",
        "CropAndResize/CropAndResize": "CropAndResize",
        "MaxPool2D/MaxPool": "MaxPool",
        f"{second}/block4/unit_3/bottleneck_v1/add": "AddV2",
        "SecondStageBoxPredictor/AvgPool": "Mean",
        "SecondStageBoxPredictor/Flatten/flatten/Reshape": "Reshape",
        "SecondStageBoxPredictor/BoxEncodingPredictor/MatMul": "MatMul",
        "SecondStageBoxPredictor/Reshape": "Reshape",
        "SecondStageBoxPredictor/Reshape_1": "Reshape",
    }
    assert {name: names.get(name) for name in expected} == expected
    assert {name.split("/")[0] for name in names} == {
        *("image_tensor", "Preprocessor", "FirstStageFeatureExtractor", "Conv", "FirstStageBoxPredictor"),
        *("GridAnchorGenerator", "FirstStagePostprocessor", "CropAndResize", "MaxPool2D"),
        *("SecondStageFeatureExtractor", "SecondStageBoxPredictor", "SecondStagePostprocessor", *NAMES),
    }


def test_gathering_stays_within_what_tensorflow_1_can(frozen):
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(frozen, name="")
    for operation in graph.get_operations():
        if operation.type == "GatherV2":
            # TensorFlow 1.15 says: "Expected batch_dims in the range [-2, 2), but got 2".
            assert operation.get_attr("batch_dims") < operation.inputs[1].shape.rank, operation.name


def test_descriptions_are_of_the_network(folder, network):
    description = json.loads((folder / "model.json").read_text())
    assert config.validate(description["configuration"], where="model.json") == network.configuration
    text = (folder / "pipeline.config").read_text()
    assert "first_stage_max_proposals: 20\n" in text
    assert "min_dimension: 128\n" in text


def test_detector_gives_pixels_of_each_picture(folder, expected):
    images = [image for batch in drawn_batches() for image in batch]
    found = Detector.load(folder).detect(images)
    rows = [
        {name: values[index] for name, values in each.items()}
        for each in expected
        for index in range(len(each["num_detections"]))
    ]
    for detections, image, row in zip(found, images, rows, strict=True):
        height, width = image.shape[:2]
        assert len(detections) == row["num_detections"] > 0
        boxes = row["detection_boxes"][: len(detections)][:, [1, 0, 3, 2]] * [width, height, width, height]
        assert detections.boxes == pytest.approx(boxes, abs=0.1)
        assert detections.classes.tolist() == row["detection_classes"][: len(detections)].tolist()
