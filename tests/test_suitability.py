from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from odml import architectures, config, suitability
from odml.errors import RecordError
from odml.inspection.statistics import AnchorMatch
from odml.structures import Annotation
from odml.suitability import Suitability
from tests import tiny

LARGE, SPECK = ("red", (2, 2, 78, 58)), ("red", (30, 30, 33, 32))


@pytest.fixture(scope="module")
def network():
    return architectures.build(tiny.configuration(), len(tiny.LABEL_MAP))


def examine(tmp_path, network, *pictures):
    dataset = tiny.write_dataset(tmp_path / "dataset", train=[tiny.serialize(objects) for objects in pictures])
    return suitability.examine(dataset, network)


def test_objects_are_counted_by_class_and_compared_with_the_anchors(tmp_path, network):
    found = examine(tmp_path, network, [LARGE, SPECK], [LARGE], [], [LARGE])
    assert found == Suitability(objects={"green": 0, "red": 4}, matched=0.75, threshold=0.5)
    (line,) = found.warnings()
    assert line == "classes without any training object: green; they cannot be learned, add pictures"


def test_objects_that_hardly_an_anchor_overlaps(tmp_path, network):
    found = examine(tmp_path, network, [SPECK, ("green", (20, 20, 22, 22)), LARGE])
    (line,) = found.warnings()
    assert line.startswith("only 33% of the objects overlap an anchor by 0.5 or more, the others are hard to")


def test_data_that_fits_is_no_reason_for_a_line(tmp_path, network):
    assert examine(tmp_path, network, [LARGE, ("green", (2, 2, 78, 58))]).warnings() == []


def test_pictures_without_objects_are_nothing_to_learn(tmp_path, network):
    with pytest.raises(RecordError) as raised:
        examine(tmp_path, network, [], [])
    assert str(raised.value) == f"{tmp_path}/dataset: no training picture has an object; there is nothing to learn"


@pytest.mark.parametrize("model", ["ssd_mobilenet_v2", "faster_rcnn_resnet50"])
def test_box_of_an_anchor_overlaps_it_wholly(model):
    network = architectures.build(config.load(model), 1)
    # A square of 128 pixels around the 12th stride of a picture that is not resized; SSD's is a fifth of its 300.
    if model == "ssd_mobilenet_v2":
        boxes = network.anchors[[500, 1900]]
    else:
        boxes = np.array([[128, 128, 256, 256], [-64, 128, 64, 256]]) / [600, 1000, 600, 1000]
    found = network.best_overlaps(tf.constant(boxes, tf.float32), 600, 1000).numpy()
    assert found[0] == pytest.approx(1.0, abs=1e-5)
    if model == "faster_rcnn_resnet50":
        assert found[1] < 0.6  # its own anchor crosses the border
    assert network.best_overlaps(tf.zeros([0, 4]), 600, 1000).shape == (0,)


def annotation(*objects, crowd=None):
    boxes = np.array([box for _, box in objects], np.float32).reshape(-1, 4)
    return Annotation(Path("a.png"), 80, 60, boxes, tuple(name for name, _ in objects), crowd=crowd)


def test_annotations_are_compared_with_the_anchors_by_class(network):
    pictures = [annotation(LARGE, SPECK, ("green", (2, 2, 78, 58))), annotation(), annotation(LARGE)]
    found = suitability.match_anchors(pictures, network, name="tiny")
    assert found == AnchorMatch("tiny", 0.5, share=0.75, of_class={"green": 1.0, "red": pytest.approx(2 / 3)})


def test_crowds_are_not_compared_with_the_anchors(network):
    assert suitability.match_anchors([annotation(SPECK, crowd=np.array([True]))], network, name="tiny") is None


def test_of_many_pictures_some_are_compared_evenly(network):
    found = suitability.match_anchors([annotation(LARGE), annotation(SPECK)] * 1000, network, name="tiny")
    assert found.share == 1


def test_no_pictures_have_no_match(network):
    assert suitability.match_anchors([], network, name="tiny") is None
