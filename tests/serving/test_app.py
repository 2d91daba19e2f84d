from __future__ import annotations

import base64
import json
import logging
import urllib.error
import urllib.request
import warnings

import pytest

from benchmarks import fuzz_serving
from odml.errors import ConfigurationError
from tests.quadrants import coloured
from tests.serving.conftest import running
from tests.test_serving import GREEN_PICTURE, RED_ANSWER, RED_PICTURE, encoded

RED = base64.b64encode(RED_PICTURE).decode()
GREEN = base64.b64encode(GREEN_PICTURE).decode()
FORMS = "dataframe_split, dataframe_records, instances, inputs"


@pytest.fixture(scope="module")
def send(app):
    return fuzz_serving.to_app(app)


def ask(send, body, kind: str | None = "application/json") -> tuple[int, object]:
    """Post a body; give the status and the predictions, or the message."""
    status, answer = send(body if isinstance(body, bytes) else json.dumps(body).encode(), kind)
    content = json.loads(answer)
    return status, content["predictions"] if status == 200 else content["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["image"], "data": [[RED], [GREEN]]}},
        {"dataframe_split": {"data": [[RED], [GREEN]]}},
        {"dataframe_records": [{"image": RED}, {"image": GREEN}]},
        {"instances": [{"image": RED}, {"image": GREEN}]},
        {"instances": [RED, GREEN]},
        {"inputs": [RED, GREEN]},
        {"inputs": {"image": [RED, GREEN]}},
    ],
)
def test_forms_of_mlflow_are_answered(send, body):
    status, answers = ask(send, body)
    assert (status, answers[0]) == (200, RED_ANSWER)
    assert answers[1]["labels"] == ["it's green"]


def test_one_value_is_one_row(send):
    assert ask(send, {"inputs": {"image": RED}}, 'Application/JSON; charset="UTF-8"') == (200, [RED_ANSWER])


@pytest.mark.parametrize("form", ["dataframe_records", "instances", "inputs"])
def test_no_rows_have_no_answers(send, form):
    assert ask(send, {form: []}) == (200, [])


def test_parameters_choose(send):
    body = {"inputs": [RED, "abc"], "params": {"errors": "row", "score_threshold": 0.1, "max_detections": 2}}
    first, second = ask(send, body)[1]
    assert first["scores"] == [1.0, 0.2]
    assert second["error"] == "row 2 of 2: the image is no base64 text; encode the picture's bytes as base64"


TABLE = 'dataframe_split: is no table; send {"columns": ["image"], "data": [["..."]]}'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "body: is no JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); "),
        (b"", "body: is no JSON (Expecting value: line 1 column 1 (char 0)); send a JSON object"),
        (b"\xff", "body: is no JSON ('utf-8' codec can't decode byte 0xff in position 0: invalid start byte); "),
        (b"[" * 100_000, "body: is JSON of too many levels; see the documentation of the requests"),
        (b"9" * 5000, "body: is no JSON (Exceeds the limit (4300 digits) for integer string conversion"),
        ([RED], f"body: is a list, no object; send one with one of {FORMS}"),
        ({"image": RED}, f"body: there is no 'image'; send one of {FORMS}, and params"),
        ({}, f"body: has no rows; send one of {FORMS}"),
        ({"inputs": [], "instances": []}, f"body: has instances and inputs; send one of {FORMS}"),
        ({"dataframe_split": [[RED]]}, TABLE),
        ({"dataframe_split": {"data": RED}}, TABLE),
        ({"dataframe_split": {"columns": "image", "data": []}}, "dataframe_split: columns are no list of names; "),
        ({"dataframe_split": {"data": [[RED, RED]]}}, "row 1 of 1: is 2 values; send a list of 1, one a column"),
        ({"dataframe_split": {"data": [[RED], RED]}}, "row 2 of 2: is text; send a list of 1, one a column"),
        ({"dataframe_records": {"image": RED}}, 'dataframe_records: is an object, no list; send [{"image": "..."}]'),
        ({"dataframe_records": [RED]}, 'row 1 of 1: is text; send {"image": "..."}'),
        ({"inputs": [None]}, 'row 1 of 1: is null; send {"image": "..."}'),
        ({"inputs": {"image": [RED], "path": []}}, "inputs: the columns are not of one length; send as many values "),
        ({"inputs": [{"picture": RED}]}, "row 1 of 1: there is no column 'picture'; send image, path, url"),
        ({"inputs": [RED, "abc"]}, "row 2 of 2: the image is no base64 text; encode the picture's bytes as base64"),
        ({"inputs": [RED] * 65}, "rows: 65 are more than 64; send fewer in a request"),
        ({"inputs": [RED], "params": {"treshold": 0.5}}, "params: there is no 'treshold'; there are score_threshold, "),
    ],
)
def test_bad_request_gets_a_line_that_says_why(send, body, message):
    status, said = ask(send, body)
    assert status == 400
    assert said[: len(message)] == message


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (None, "Content-Type: '' is not application/json; send JSON under that type"),
        ("image/jpeg", "Content-Type: 'image/jpeg' is not application/json; send JSON under that type"),
        ("application/json; charset=latin-1", "Content-Type: 'application/json; charset=latin-1' is not UTF-8; "),
    ],
)
def test_other_content_is_refused(send, kind, message):
    status, said = ask(send, {"inputs": [RED]}, kind)
    assert (status, said[: len(message)]) == (415, message)


def test_body_that_is_too_large_is_refused(send):
    status, said = ask(send, b" " * (2**26 + 1))
    assert (status, said) == (413, "body: has more than 67108864 bytes; send fewer or smaller pictures in a request")


def test_fault_of_the_server_is_not_told_but_logged(app, send, monkeypatch, caplog):
    def fail(self, images, **options):
        raise OSError("the disk, at /secret")

    monkeypatch.setattr("odml.detector.Detector.detect", fail)
    with caplog.at_level(logging.ERROR):
        assert ask(send, {"inputs": [RED]}) == (500, "the server failed at this request; its log says why")
    assert "the disk, at /secret" in caplog.text


def test_fuzz_of_bad_requests_is_refused(send):
    with warnings.catch_warnings():
        # Pillow's, of sizes just below those that it refuses itself.
        warnings.simplefilter("ignore")
        assert fuzz_serving.fuzz(send, 300) == (300, [])


def test_other_model_is_no_detector(tmp_path):
    from odml.serving.app import load

    with pytest.raises(ConfigurationError) as raised:
        load(str(tmp_path / "nowhere"))
    assert str(raised.value).startswith(f"model: {tmp_path}/nowhere cannot be loaded (")


def test_page_and_mlflow_are_there(app):
    with running(app) as url:
        with urllib.request.urlopen(url) as page:
            assert "script-src 'unsafe-inline'" in page.headers["Content-Security-Policy"]
            assert "http" not in page.read().decode().replace("http://www.w3.org/2000/svg", "")
        with urllib.request.urlopen(f"{url}/about") as about:
            assert json.load(about) == {
                "title": "quadrants",
                "classes": [{"name": "red", "colour": "#e69f00"}, {"name": "it's green", "colour": "#56b4e9"}],
                "max_image_bytes": 2**25,
            }
        for path in ("ping", "health", "version"):
            assert urllib.request.urlopen(f"{url}/{path}").status == 200
        with pytest.raises(urllib.error.HTTPError) as missing:
            urllib.request.urlopen(f"{url}/no")
        missing.value.close()
        assert missing.value.code == 404
        body = json.dumps(
            {"inputs": [base64.b64encode(encoded(coloured(4, 4, top_left=(0,) * 3, elsewhere=(0,) * 3))).decode()]}
        )
        request = urllib.request.Request(f"{url}/invocations", body.encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["predictions"][0]["labels"] == []
