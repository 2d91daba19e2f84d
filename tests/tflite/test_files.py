from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated
from tensorflow.lite.tools import flatbuffer_utils

from odml import config, tflite
from odml.errors import ConfigurationError, RecordError
from tests import tiny

POSTPROCESS = "TFLite_Detection_PostProcess"
ROWS = 100


def interpreter(content: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated")
        made = tf.lite.Interpreter(model_content=content)
    made.allocate_tensors()
    return made


def detect(content: bytes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Run a file as programs do, by the places of its outputs; give the rows that hold detections."""
    made = interpreter(content)
    made.set_tensor(made.get_input_details()[0]["index"], x)
    made.invoke()
    *tensors, count = (made.get_tensor(output["index"])[0] for output in made.get_output_details())
    return tuple(tensor[: int(count)] for tensor in tensors)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.array(tiny.draw([("red", (10, 10, 50, 40))], width=64, height=64))[None]


@pytest.fixture(scope="module")
def raw(network, picture) -> Mapping[str, np.ndarray]:
    """What the network gives for the picture before suppression."""
    return {name: tensor[0].numpy() for name, tensor in network.detect(tf.constant(picture)).items() if "raw" in name}


def scaled(picture: np.ndarray) -> np.ndarray:
    return picture / np.float32(127.5) - 1


@pytest.mark.parametrize("form", tflite.FILES)
def test_outputs_come_in_the_order_that_programs_know(written, form):
    made = interpreter((written.folder / tflite.FILES[form]).read_bytes())
    found = [(each["name"], each["shape"].tolist(), each["dtype"]) for each in made.get_output_details()]
    assert found == [
        (POSTPROCESS, [1, ROWS, 4], np.float32),
        (f"{POSTPROCESS}:1", [1, ROWS], np.float32),
        (f"{POSTPROCESS}:2", [1, ROWS], np.float32),
        (f"{POSTPROCESS}:3", [1], np.float32),
    ]


@pytest.mark.parametrize(("form", "dtype"), [("float32", np.float32), ("float16", np.float32), ("int8", np.uint8)])
def test_input_has_the_name_and_the_size_that_programs_know(written, form, dtype):
    (given,) = interpreter((written.folder / tflite.FILES[form]).read_bytes()).get_input_details()
    assert given["name"] == "normalized_input_image_tensor"
    assert (given["shape"].tolist(), given["dtype"]) == ([1, 64, 64, 3], dtype)


def test_int8_takes_pixels_as_they_are(written):
    (given,) = interpreter((written.folder / "model_int8.tflite").read_bytes()).get_input_details()
    scale, zero_point = given["quantization"]
    assert scale == pytest.approx(2 / 255)
    assert zero_point in (127, 128)


def test_int8_computes_with_8_bits_up_to_the_post_processing(written):
    model = flatbuffer_utils.read_model(str(written.folder / "model_int8.tflite"))
    kinds = Counter(tensor.type for tensor in model.subgraphs[0].tensors)
    types = schema_py_generated.TensorType
    assert set(kinds) == {types.FLOAT32, types.INT8, types.INT32, types.UINT8}  # biases have 32 bits
    # Boxes, scores and anchors go into the post-processing, four tensors come out.
    assert kinds[types.FLOAT32] == 3 + 4


@pytest.mark.parametrize(("form", "tolerance"), [("float32", 1e-5), ("float16", 5e-3), ("int8", 0.1)])
def test_first_detection_is_the_best_candidate_of_the_network(written, picture, raw, form, tolerance):
    x = picture if form == "int8" else scaled(picture)
    boxes, classes, scores = detect((written.folder / tflite.FILES[form]).read_bytes(), x)
    anchor, class_id = np.unravel_index(raw["raw_detection_scores"][:, 1:].argmax(), (tiny.ANCHORS, 2))
    assert classes[0] == class_id  # from 0
    assert scores[0] == pytest.approx(raw["raw_detection_scores"][anchor, 1 + class_id], abs=tolerance)
    assert boxes[0] == pytest.approx(raw["raw_detection_boxes"][anchor], abs=tolerance)


def test_of_boxes_that_overlap_one_stays_whatever_their_class(network, written, picture, raw):
    boxes, classes, scores = detect((written.folder / "model.tflite").read_bytes(), scaled(picture))
    best = raw["raw_detection_scores"][:, 1:]
    detection = network.configuration.detection
    kept = tf.image.non_max_suppression(
        *(raw["raw_detection_boxes"], best.max(axis=1), ROWS),
        **{"iou_threshold": detection.iou_threshold, "score_threshold": detection.score_threshold},
    )
    assert set(classes) == {0, 1}
    assert classes.tolist() == best.argmax(axis=1)[kept].tolist()
    assert scores == pytest.approx(best.max(axis=1)[kept], abs=1e-5)
    assert boxes == pytest.approx(raw["raw_detection_boxes"][kept], abs=1e-5)


def test_labels_are_one_name_a_line(written):
    assert (written.folder / "labels.txt").read_text() == "green\nred\n"


def test_forms_make_files_smaller_and_less_like_the_network(written):
    sizes = [(written.folder / tflite.FILES[form]).stat().st_size for form in ("float32", "float16", "int8")]
    assert sizes[0] > 1.5 * sizes[1] > 1.5 * 1.3 * sizes[2]
    found = written.differences
    assert max(found["float32"].score, found["float32"].box) < 1e-5
    assert 1e-5 < found["float16"].score < 0.05
    assert found["int8"].score > 1e-3


def test_without_a_data_set_drawn_pictures_are_compared(network, tmp_path):
    found = tflite.write(network, tmp_path, forms=["float32"], label_map=tiny.LABEL_MAP)
    assert 0 < found["float32"].score < 1e-5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.txt", "model.tflite"]


@pytest.mark.parametrize(
    ("text", "forms"), [("", []), ("int8", ["int8"]), ("int8, float32,int8", ["float32", "int8"]), (" ", [])]
)
def test_forms_are_read_from_a_list(text, forms):
    assert tflite.parse_forms(text) == forms


@pytest.mark.parametrize(("text", "unknown"), [("float32,int4", "int4"), ("float32,", ""), ("yes", "yes")])
def test_unknown_form_is_named(text, unknown):
    with pytest.raises(ConfigurationError) as raised:
        tflite.parse_forms(text)
    assert str(raised.value) == (f"tflite: there is no form {unknown!r}; give one or several of float32, float16, int8")


def test_detector_with_proposals_is_refused():
    with pytest.raises(ConfigurationError) as raised:
        tflite.require_convertible(config.load("faster_rcnn_resnet50"))
    assert str(raised.value) == (
        "faster_rcnn: TensorFlow Lite has no operations for its proposals; train an SSD, or leave tflite and quantize "
        "as they are by default"
    )


def test_int8_needs_training_pictures(network, tmp_path):
    with pytest.raises(ValueError, match=r"^int8 needs a data set to be calibrated with$"):
        tflite.write(network, tmp_path, forms=["int8"], label_map=tiny.LABEL_MAP)
    only_validation = tiny.write_dataset(tmp_path / "dataset", train=[], val=[tiny.serialize([])])
    with pytest.raises(RecordError) as raised:
        tflite.write(network, tmp_path, forms=["int8"], label_map=tiny.LABEL_MAP, dataset=only_validation)
    assert str(raised.value) == (
        f"{tmp_path}/dataset: has no training records to calibrate int8 with; prepare it with a val_split below 100"
    )
