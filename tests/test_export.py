import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from odml import architectures, config
from odml.detector import Detector
from odml.errors import ExportError
from odml.export import export
from odml.export.freezing import OPTIONAL_OUTPUTS, OUTPUTS, freeze, trace
from odml.structures import LabelMap
from tests.quadrants import LABEL_MAP, Quadrants, coloured

RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)

# What people run against graphs of the TF Object Detection API, by name and with none of our code.
CLIENT = """
import sys
import numpy as np
import tensorflow.compat.v1 as tf

graph = tf.Graph()
with graph.as_default():
    graph_def = tf.GraphDef()
    with tf.gfile.GFile(sys.argv[1], "rb") as file:
        graph_def.ParseFromString(file.read())
    tf.import_graph_def(graph_def, name="")
with graph.as_default(), tf.Session(graph=graph) as session:
    names = ["num_detections:0", "detection_boxes:0", "detection_scores:0", "detection_classes:0"]
    for path in sys.argv[2:]:
        values = session.run([graph.get_tensor_by_name(name) for name in names], {"image_tensor:0": np.load(path)})
        np.savez(path + ".npz", *values)
assert not any(name.split(".")[0] == "odml" for name in sys.modules)
"""


@pytest.fixture(scope="module")
def batch():
    return np.stack(
        [
            coloured(6, 8, top_left=RED, elsewhere=BLACK),
            coloured(6, 8, top_left=GREEN, elsewhere=BLACK),
            coloured(6, 8, top_left=BLACK, elsewhere=BLACK),
        ]
    )


def test_export_folder_holds_the_files_of_the_object_detection_api(graph):
    assert sorted(str(path.relative_to(graph)) for path in graph.rglob("*") if path.is_file()) == [
        "checkpoint",
        "frozen_inference_graph.pb",
        "labels.pbtxt",
        "model.ckpt.data-00000-of-00001",
        "model.ckpt.index",
        "model.ckpt.meta",
        "model.json",
        "pipeline.config",
        "saved_model/saved_model.pb",
    ]


def test_plain_tensorflow_1_client_detects_in_pictures_of_any_size(graph, batch, tmp_path):
    np.save(tmp_path / "three.npy", batch)
    np.save(tmp_path / "one.npy", coloured(31, 17, top_left=BLACK, elsewhere=RED)[None])
    client = tmp_path / "client.py"
    client.write_text(CLIENT)
    arguments = [sys.executable, client, graph / "frozen_inference_graph.pb", "three.npy", "one.npy"]
    subprocess.run(arguments, cwd=tmp_path, check=True)

    count, boxes, scores, classes = np.load(tmp_path / "three.npy.npz").values()
    assert {values.dtype for values in (count, boxes, scores, classes)} == {np.dtype(np.float32)}
    assert count.tolist() == [1, 1, 0]
    assert boxes[0, 0].tolist() == [0, 0, 0.5, 0.5]
    assert scores.tolist() == [[1] + [0] * 7, [1] + [0] * 7, [0] * 8]
    assert classes.tolist() == [[1] * 8, [2] + [1] * 7, [1] * 8]
    assert np.load(tmp_path / "one.npy.npz")["arr_0"].tolist() == [4]


def test_saved_model_answers_tensorflow_1(graph, batch):
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        v1.get_logger().setLevel("ERROR")  # the loader calls itself deprecated
        loaded = v1.saved_model.loader.load(session, ["serve"], str(graph / "saved_model"))
        signature = loaded.signature_def["serving_default"]
        assert signature.method_name == "tensorflow/serving/predict"
        assert {key: info.name for key, info in signature.inputs.items()} == {"inputs": "image_tensor:0"}
        assert {key: info.name for key, info in signature.outputs.items()} == {
            name: f"{name}:0"
            for name in (
                *("num_detections", "detection_boxes", "detection_scores", "detection_classes"),
                *("raw_detection_boxes", "raw_detection_scores"),
            )
        }
        assert session.run("num_detections:0", {"image_tensor:0": batch}).tolist() == [1, 1, 0]


@pytest.mark.parametrize(("key", "name"), [("serving_default", "inputs"), ("input_tensor", "input_tensor")])
def test_saved_model_answers_tensorflow_2(graph, batch, key, name):
    signature = tf.saved_model.load(str(graph / "saved_model")).signatures[key]
    assert signature(**{name: tf.constant(batch)})["detection_classes"].numpy()[:, 0].tolist() == [1, 2, 1]


def serialize(encoded):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
    return tf.train.Example(features=tf.train.Features(feature={"image/encoded": feature})).SerializeToString()


@pytest.mark.parametrize("encode", [tf.io.encode_png, tf.io.encode_jpeg])
def test_saved_model_takes_files_and_records(graph, batch, encode):
    signatures = tf.saved_model.load(str(graph / "saved_model")).signatures
    files = [encode(image).numpy() for image in batch]
    images = tf.stack([tf.io.decode_image(file) for file in files])
    expected = signatures["input_tensor"](input_tensor=images)["detection_scores"].numpy()
    assert expected[0].any()
    for name, values in (("encoded_image_string_tensor", files), ("tf_example", [serialize(each) for each in files])):
        found = signatures[name](**{name: tf.constant(values)})
        assert found["detection_scores"].numpy().tolist() == expected.tolist()


@pytest.mark.parametrize("input_type", ["encoded_image_string_tensor", "tf_example"])
def test_frozen_graph_of_another_input_type_takes_pictures_too(batch, tmp_path, input_type):
    v1 = tf.compat.v1
    export(Quadrants(), tmp_path / "graph", label_map=LABEL_MAP, step=7, input_type=input_type)
    content = (tmp_path / "graph" / "frozen_inference_graph.pb").read_bytes()
    files = [tf.io.encode_png(image).numpy() for image in batch]
    values = [serialize(each) for each in files] if input_type == "tf_example" else files
    with v1.Session(graph=tf.Graph()) as session:
        tf.graph_util.import_graph_def(v1.GraphDef.FromString(content), name="")
        assert session.run("num_detections:0", {f"{input_type}:0": values}).tolist() == [1, 1, 0]
        assert session.run("num_detections:0", {"image_tensor:0": batch}).tolist() == [1, 1, 0]
    assert [len(each) for each in Detector.load(tmp_path / "graph").detect(batch)] == [1, 1, 0]
    signature = tf.saved_model.load(str(tmp_path / "graph" / "saved_model")).signatures["serving_default"]
    assert signature(inputs=tf.constant(values))["num_detections"].numpy().tolist() == [1, 1, 0]
    assert json.loads((tmp_path / "graph" / "model.json").read_text())["input_type"] == input_type


def test_checkpoint_restores_into_its_meta_graph_and_detects(graph, batch):
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        saver = v1.train.import_meta_graph(str(graph / "model.ckpt.meta"))
        saver.restore(session, v1.train.latest_checkpoint(str(graph)))
        assert session.run("num_detections:0", {"image_tensor:0": batch}).tolist() == [1, 1, 0]


def test_checkpoint_names_variables_without_the_model(graph):
    assert tf.train.list_variables(str(graph)) == [("colours/kernel", [3, 2])]


def test_frozen_graph_has_only_operations_that_old_readers_know(graph):
    frozen = tf.compat.v1.GraphDef.FromString((graph / "frozen_inference_graph.pb").read_bytes())
    assert not frozen.library.function
    assert not {node.device for node in frozen.node} - {""}
    assert not [name for node in frozen.node for name in node.attr if name.startswith("_")]
    assert "explicit_paddings" not in {name for node in frozen.node for name in node.attr}


def test_model_json_says_where_the_graph_comes_from(graph):
    description = json.loads((graph / "model.json").read_text())
    assert description["step"] == 7
    assert description["label_map"] == ["red", "it's green"]
    assert description["parity"] == {
        "raw_difference": pytest.approx(0, abs=1e-6),
        "rows": 12,
        "paired": 12,
        "compared": 24,
        "matched": 24,
    }
    assert description["configuration"]["architecture"] == "ssd"
    assert (graph / "labels.pbtxt").read_text() == LABEL_MAP.to_pbtxt()


def test_existing_folder_is_left_alone(tmp_path):
    with pytest.raises(ExportError) as raised:
        export(Quadrants(), tmp_path, label_map=LABEL_MAP, step=0)
    assert str(raised.value) == f"{tmp_path}: already exists; name a new folder, or remove it first"


def test_failed_export_leaves_nothing(tmp_path):
    class Unequal(Quadrants):
        def detect(self, images):
            found = super().detect(images)
            return (
                found
                if not tf.executing_eagerly()
                else found | {"raw_detection_boxes": found["raw_detection_boxes"] - 1}
            )

    message = (
        r"^frozen_inference_graph\.pb: differs from its checkpoint, in 12 of 12 rows before suppression \(by 1\.0\)"
    )
    with pytest.raises(ExportError, match=message):
        export(Unequal(), tmp_path / "graph", label_map=LABEL_MAP, step=0)
    assert not list(tmp_path.iterdir())


def test_network_with_control_flow_cannot_be_exported():
    class Loop(Quadrants):
        def detect(self, images):
            found = super().detect(images)
            count = found["num_detections"]
            (looped,) = tf.while_loop(lambda x: tf.reduce_sum(x) < 0, lambda x: [x + 1.0], [count])
            return found | {"num_detections": looped}

    with pytest.raises(ValueError, match=r"the operations StatelessWhile$"):
        freeze(trace(Loop().detect))


def test_diverged_network_is_not_exported(tmp_path):
    network = Quadrants()
    network.colours.kernel.assign(np.full((3, 2), np.nan))
    with pytest.raises(ExportError) as raised:
        export(network, tmp_path / "graph", label_map=LABEL_MAP, step=0)
    assert str(raised.value) == (
        "checkpoint: the network gives values that are not finite; export an earlier step, or train again with a lower"
        " learning rate"
    )


@pytest.mark.slow
def test_ssd_is_exported_as_it_is(tmp_path):
    network = architectures.build(config.load("ssd_mobilenet_v2"), 3)
    random = np.random.default_rng(1)
    for weight in network.weights:  # fresh weights let no signal through; these spread the scores
        if weight.name in ("weights", "depthwise_weights"):
            inputs = np.prod(weight.shape[:2] if weight.name == "depthwise_weights" else weight.shape[:3])
            gain = 0.1 if "ClassPredictor" in weight.path else 2
            weight.assign(random.normal(0, np.sqrt(gain / inputs), weight.shape))
    parity = export(network, tmp_path / "graph", label_map=LabelMap(("a", "b", "c")), step=3)
    assert parity.raw_difference < 1e-4
    assert parity.compared > 30
    assert parity.matched == parity.compared
    names = {name for name, _ in tf.train.list_variables(str(tmp_path / "graph"))}
    assert "FeatureExtractor/MobilenetV2/Conv/weights" in names
    assert "BoxPredictor_0/ClassPredictor/biases" in names
    frozen = tf.compat.v1.GraphDef.FromString((tmp_path / "graph" / "frozen_inference_graph.pb").read_bytes())
    operations = {node.name: node.op for node in frozen.node if node.op != "Const"}
    extractor = "FeatureExtractor/MobilenetV2"
    expected = {
        "Preprocessor/mul": "Mul",
        "Preprocessor/sub": "Sub",
        f"{extractor}/Conv/Conv2D": "Conv2D",
        f"{extractor}/expanded_conv_2/depthwise/depthwise": "DepthwiseConv2dNative",
        f"{extractor}/expanded_conv_2/project/BiasAdd": "BiasAdd",
        f"{extractor}/expanded_conv_2/add": "AddV2",
        f"{extractor}/Conv_1/Relu6": "Relu6",
        f"{extractor}/layer_19_2_Conv2d_5_3x3_s2_128/Relu6": "Relu6",
        "BoxPredictor_5/BoxEncodingPredictor/BiasAdd": "BiasAdd",
        "BoxPredictor_5/ClassPredictor/BiasAdd": "BiasAdd",
        "concat": "ConcatV2",
        "concat_1": "ConcatV2",
    }
    assert {name: operations.get(name) for name in expected} == expected
    outputs = {*OUTPUTS, *OPTIONAL_OUTPUTS}
    predictors = {f"BoxPredictor_{number}" for number in range(6)}
    scopes = {"image_tensor", "Preprocessor", "FeatureExtractor", "concat", "concat_1", "Postprocessor"}
    assert {name.split("/")[0] for name in operations} == scopes | predictors | outputs
