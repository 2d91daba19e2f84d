from __future__ import annotations

import json

import pytest

from odml.serving.bad_request import BadRequestError
from odml.serving.parameters import Parameters, parse
from odml.structures import LabelMap

LABEL_MAP = LabelMap(("cat", "dog"))


def test_nothing_given_gives_the_defaults():
    assert parse(None, LABEL_MAP) == parse({"score_threshold": None, "errors": None}, LABEL_MAP)
    assert parse({}, LABEL_MAP) == Parameters(score_threshold=0.5, max_detections=100, class_ids=(), fails=True)


def test_parameters_are_read():
    params = {"score_threshold": 1, "max_detections": 2.0, "classes": ["dog"], "errors": "row"}
    assert parse(params, LABEL_MAP) == Parameters(score_threshold=1.0, max_detections=2, class_ids=(2,), fails=False)


RANGE = "is not in 0 to 1; send a number in that range"
WHOLE = "is no whole number of at least 1; send one"
NAMES = "score_threshold, max_detections, classes, errors"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"score_threshold": 1.5}, f"score_threshold: 1.5 {RANGE}"),
        ({"score_threshold": float("nan")}, f"score_threshold: nan {RANGE}"),
        ({"score_threshold": "high"}, f"score_threshold: 'high' {RANGE}"),
        ({"score_threshold": True}, f"score_threshold: True {RANGE}"),
        ({"score_threshold": [0.5]}, f"score_threshold: [0.5] {RANGE}"),
        ({"max_detections": 0}, f"max_detections: 0 {WHOLE}"),
        ({"max_detections": 1.5}, f"max_detections: 1.5 {WHOLE}"),
        ({"max_detections": float("nan")}, f"max_detections: nan {WHOLE}"),
        ({"max_detections": float("inf")}, f"max_detections: inf {WHOLE}"),
        ({"max_detections": "all"}, f"max_detections: 'all' {WHOLE}"),
        ({"classes": "dog"}, "classes: 'dog' is no list; send names of classes in brackets"),
        ({"classes": ["dog", "cow"]}, "classes: 'cow' is no class of this detector; there are cat, dog"),
        ({"classes": [1]}, "classes: 1 is no class of this detector; there are cat, dog"),
        ({"errors": "ignore"}, "errors: 'ignore' is neither fail nor row; send one of the two"),
        ({"threshold": 0.5}, f"params: there is no 'threshold'; there are {NAMES}"),
        ([0.5], "params: [0.5] is no object; send names with their values"),
        ("x" * 100, f"params: '{'x' * 59}... is no object; send names with their values"),
    ],
)
def test_parameter_that_is_not_allowed_is_refused(params, message):
    with pytest.raises(BadRequestError) as raised:
        parse(params, LABEL_MAP)
    assert raised.value.message == message
    assert raised.value.get_http_status_code() == 400


def test_huge_numbers_are_numbers_out_of_range():
    with pytest.raises(BadRequestError):
        parse({"score_threshold": 10**400}, LABEL_MAP)
    assert parse(json.loads(f'{{"max_detections": {10**400}}}'), LABEL_MAP).max_detections == 10**400
