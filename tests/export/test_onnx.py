from __future__ import annotations

import onnxruntime
import pytest

from odml import config
from odml.errors import ConfigurationError
from odml.export import check_form, require_onnx
from odml.forms import FORMS
from tests import tiny


def test_tensors_have_the_names_of_the_frozen_graph_and_open_sizes(exported):
    session = onnxruntime.InferenceSession(str(exported.folder / "model.onnx"))
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape[3]) == ("image_tensor:0", "tensor(uint8)", 3)
    assert not any(isinstance(size, int) for size in given.shape[:3])
    assert [each.name for each in session.get_outputs()] == [
        *("num_detections:0", "detection_boxes:0", "detection_scores:0", "detection_classes:0"),
        *("raw_detection_boxes:0", "raw_detection_scores:0", "detection_multiclass_scores:0"),
    ]


@pytest.mark.parametrize("name", ["saved_model", "onnx"])
def test_rows_before_suppression_are_those_of_the_network(exported, name):
    found = check_form(exported.network, exported.folder, FORMS[name])
    assert found.raw_difference < 1e-4
    assert (found.rows, found.paired) == (3 * 78, 3 * 78)


@pytest.mark.parametrize(
    ("there", "missing"),
    [("tf2onnx", "onnxruntime, which is not"), ("", "tf2onnx and onnxruntime, which are not")],
)
def test_missing_packages_are_told(monkeypatch, there, missing):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == there or None)
    with pytest.raises(ConfigurationError) as raised:
        require_onnx(tiny.configuration())
    assert str(raised.value) == f"onnx: needs {missing} installed; pip install 'odml[onnx]'"


def test_detector_with_boxes_of_each_class_is_refused():
    with pytest.raises(ConfigurationError) as raised:
        require_onnx(config.load("faster_rcnn_resnet50"))
    assert str(raised.value) == (
        "onnx: tf2onnx cannot write the suppression of faster_rcnn, which has boxes of each class; train an SSD, or "
        "leave onnx as it is by default"
    )
