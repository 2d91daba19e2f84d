from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from odml.errors import ExportError
from odml.form_comparison import compare
from odml.forms import FORMS
from tests import tiny
from tests.quadrants import Quadrants


class Finder(Quadrants):
    """Quadrants by the ids of the small data set: class 1 is green, class 2 red."""

    fixed_size = False

    def __init__(self) -> None:
        super().__init__()
        self.colours.kernel.assign(np.float32([[0, 1], [1, 0], [0, 0]]))

    def resize(self, images):
        return tf.cast(images, tf.float32)


@pytest.fixture(scope="module")
def quadrants(tmp_path_factory):
    """A red quadrant in the first picture, a green one in the second."""
    examples = [
        tiny.serialize([("red", (0, 0, 40, 30))], source_id="a.png"),
        tiny.serialize([("green", (40, 30, 80, 60))], source_id="b.png"),
    ]
    return tiny.write_dataset(tmp_path_factory.mktemp("records") / "dataset", train=[], val=examples)


def test_every_form_of_a_folder_is_compared(exported):
    found = compare(exported.network, exported.folder, exported.dataset, examples=-1)
    assert found.examples == 2
    assert list(found.forms) == list(FORMS)
    for name in ("frozen_graph", "saved_model", "onnx"):
        result = found.forms[name]
        assert result.mean_ap == pytest.approx(found.mean_ap, abs=1e-4)
        assert result.matched == result.compared > 0
        assert max(result.score_difference, result.box_difference) < 1e-4
    assert found.forms["tflite_int8"].score_difference > 1e-4
    assert found.description()["onnx"] == found.forms["onnx"].figures()


def test_metrics_have_the_form_in_their_names(quadrants, graph):
    found = compare(Finder(), graph, quadrants, examples=1, max_drop=1)
    metrics = found.metrics()
    assert set(metrics) == {
        *("examples", "checkpoint/mAP"),
        *(
            f"{form}/{figure}"
            for form in ("frozen_graph", "saved_model")
            for figure in (
                *("mAP", "mAP_drop", "score_difference", "box_difference"),
                *("compared_detections", "matched_detections"),
            )
        ),
    }
    assert (metrics["examples"], metrics["checkpoint/mAP"]) == (1, pytest.approx(1))


def test_form_that_finds_less_than_its_checkpoint_is_refused(quadrants, graph):
    # The graph's classes are the other way round.
    with pytest.raises(ExportError) as raised:
        compare(Finder(), graph, quadrants, examples=-1)
    assert str(raised.value) == (
        "frozen_inference_graph.pb: its mAP on 2 validation pictures is 0.125, more than 0.005 below its checkpoint's "
        "1.000; leave that form out, or allow more with max_map_drop"
    )


def test_differences_are_of_detections_of_one_class_that_overlap(quadrants, graph):
    result = compare(Finder(), graph, quadrants, examples=1, max_drop=1).forms["frozen_graph"]
    # Grey is seen as both classes in each quadrant, by 90 of 255; red by 220 in one, and green there by 30 is not.
    assert result.compared == 7
    assert result.matched == 7
    assert result.box_difference == pytest.approx(0, abs=1e-6)
    assert result.score_difference == pytest.approx((220 - 30) / 255, abs=1e-3)


def test_pictures_without_objects_have_no_map(graph, tmp_path):
    dataset = tiny.write_dataset(tmp_path / "dataset", train=[], val=[tiny.serialize([])])
    found = compare(Finder(), graph, dataset, examples=-1)
    assert found.mean_ap is None
    assert {each.drop for each in found.forms.values()} == {None}
