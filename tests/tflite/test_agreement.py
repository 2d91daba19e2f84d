from __future__ import annotations

import numpy as np
import pytest

from odml.errors import ExportError
from odml.tflite.agreement import check
from tests import tiny

PICTURES = [np.array(tiny.draw([("red", (10, 10, 50, 40))], width=64, height=64))[None]]


@pytest.fixture(scope="module")
def content(written):
    return (written.folder / "model.tflite").read_bytes()


def test_file_of_its_network_agrees(network, content):
    found = check("model.tflite", content, network, PICTURES, tolerance=1e-3)
    assert max(found.score, found.box) < 1e-5


@pytest.fixture
def another(network):
    """The network with weights that have gone on since its file was written."""
    head = network.box_predictors[0].classes.bias
    before = head.numpy()
    head.assign_add(np.full(head.shape, 0.4))
    yield network
    head.assign(before)


def test_file_of_other_weights_differs(another, content):
    found = check("model_int8.tflite", content, another, PICTURES, tolerance=None)
    assert found.score == pytest.approx(0.1, abs=0.01)
    assert found.box < 1e-5
    with pytest.raises(ExportError) as raised:
        check("model.tflite", content, another, PICTURES, tolerance=0.05)
    assert str(raised.value) == (
        f"model.tflite: differs from its checkpoint, in scores by {found.score:.2g} and in boxes by {found.box:.2g}; "
        "do not use it, and report this"
    )


def test_file_whose_last_operation_has_other_anchors_is_refused(network, content, monkeypatch):
    monkeypatch.setattr(network, "anchors", network.anchors[::-1])
    with pytest.raises(ExportError) as raised:
        check("model_int8.tflite", content, network, PICTURES, tolerance=None)
    assert str(raised.value) == (
        "model_int8.tflite: gives detections that its network does not; do not use it, and report this"
    )
