import pytest

from odml.errors import ConfigurationError
from odml.selection import Selection, parse_classes
from odml.structures import LabelMap
from tests.found import detections, rows_of

FOUND = detections(([0, 0, 9, 9], 0.9, 1), ([20, 0, 29, 9], 0.8, 2), ([0, 0, 9, 8], 0.7, 1), ([40, 0, 49, 9], 0.6, 1))


@pytest.mark.parametrize(
    ("selection", "scores"),
    [
        (Selection(score_threshold=0.5), [0.9, 0.8, 0.7, 0.6]),
        (Selection(score_threshold=0.75), [0.9, 0.8]),
        (Selection(max_detections=1), [0.9]),
        (Selection(classes=(2,)), [0.8]),
        (Selection(classes=(1,), max_detections=2), [0.9, 0.7]),
        (Selection(nms_iou=0.5), [0.9, 0.8, 0.6]),
        (Selection(nms_iou=0.5, classes=(1,), max_detections=2), [0.9, 0.6]),
    ],
)
def test_wanted_detections_are_kept_best_first(selection, scores):
    assert [score for _, score, _ in rows_of(selection.of(FOUND))] == scores


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"score_threshold": 1.5}, "score_threshold: 1.5 is not in 0 to 1; give a number in that range"),
        ({"max_detections": 0}, "max_detections: 0 is below 1; give at least 1"),
        ({"nms_iou": 2.0}, "nms_iou: 2.0 is not in 0 to 1; give a number in that range"),
    ],
)
def test_value_out_of_range_is_refused(values, message):
    with pytest.raises(ConfigurationError) as raised:
        Selection(**values)
    assert str(raised.value) == message


def test_classes_are_given_by_name():
    label_map = LabelMap(("cat", "red panda"))
    assert parse_classes(" red panda,cat, ", label_map) == (1, 2)
    assert parse_classes("", label_map) == ()
    with pytest.raises(ConfigurationError) as raised:
        parse_classes("cat,dog", label_map)
    assert str(raised.value) == "classes: the detector does not know 'dog'; it knows cat, red panda"
