from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.quadrants import LABEL_MAP, coloured

with warnings.catch_warnings():
    # MLflow warns about type hints of its own when its pyfunc module is imported.
    warnings.simplefilter("ignore")
    import mlflow.pyfunc
    import pandas as pd

    from odml.serving import DetectorModel, log_detector
    from odml.serving.bad_request import BadRequestError
    from odml.serving.packaging import CURL, requirements, signature
    from odml.serving.parameters import DEFAULTS

ROOT = Path(__file__).parents[1]
RED, GREEN, DARK_GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 51, 0), (0, 0, 0)


def encoded(image: np.ndarray, kind: str = "png", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


RED_PICTURE = encoded(coloured(40, 60, top_left=RED, elsewhere=DARK_GREEN))
GREEN_PICTURE = encoded(coloured(20, 30, top_left=GREEN, elsewhere=BLACK))
RED_ANSWER = {
    "labels": ["red"],
    "class_ids": [1],
    "scores": [1.0],
    "boxes": [[0.0, 0.0, 30.0, 20.0]],
    "width": 60,
    "height": 40,
    "error": "",
}


@pytest.fixture(scope="module")
def model(graph):
    loaded = DetectorModel()
    loaded.load_context(mlflow.pyfunc.PythonModelContext({"graph": str(graph)}, {}))
    return loaded


def predict(model, *images, **params):
    frame = model.predict(None, pd.DataFrame({"image": list(images)}), params)
    return frame.to_dict("records")


@pytest.mark.parametrize(
    "image",
    [
        RED_PICTURE,
        bytearray(RED_PICTURE),
        base64.b64encode(RED_PICTURE),
        base64.b64encode(RED_PICTURE).decode(),
        base64.encodebytes(RED_PICTURE),
    ],
    ids=["bytes", "bytearray", "base64 bytes", "base64 text", "base64 lines"],
)
def test_picture_may_come_as_bytes_or_as_base64(model, image):
    assert predict(model, image) == [RED_ANSWER]


def test_rows_of_different_sizes_are_answered_in_order(model):
    answers = predict(model, RED_PICTURE, GREEN_PICTURE, encoded(coloured(8, 8, top_left=BLACK, elsewhere=BLACK)))
    assert [answer["labels"] for answer in answers] == [["red"], ["it's green"], []]
    assert [(answer["width"], answer["height"]) for answer in answers] == [(60, 40), (30, 20), (8, 8)]
    assert answers[2]["boxes"] == []


def test_picture_is_seen_upright(model):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise: the red quadrant moves to the top right
    turned = encoded(coloured(40, 60, top_left=RED, elsewhere=BLACK), "jpeg", quality=100, exif=exif)
    (answer,) = predict(model, turned, max_detections=1)
    assert (answer["width"], answer["height"]) == (40, 60)
    assert answer["boxes"] == [[20.0, 0.0, 40.0, 30.0]]


def test_parameters_choose_what_is_answered(model):
    assert [answer["scores"] for answer in predict(model, RED_PICTURE, score_threshold=0.1)] == [[1.0, 0.2, 0.2, 0.2]]
    assert [answer["scores"] for answer in predict(model, RED_PICTURE, score_threshold=0.1, max_detections=2)] == [
        [1.0, 0.2]
    ]


def test_no_rows_have_no_answers(model):
    assert predict(model) == []


UNKNOWN = "its content is of no known format"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "it is empty"),
        (b"hello hello\n", UNKNOWN),
        (b"\x00\x01", UNKNOWN),
        (base64.b64encode(b"hello"), UNKNOWN),
        (base64.b64encode(b"hello").decode(), UNKNOWN),
    ],
)
def test_row_that_is_no_picture_is_named(model, image, reason):
    with pytest.raises(BadRequestError) as raised:
        predict(model, RED_PICTURE, image)
    assert raised.value.message == (
        f"row 2 of 2: cannot be read as a picture ({reason}); replace it by a JPEG, PNG, GIF or BMP file"
    )
    assert raised.value.get_http_status_code() == 400


def test_row_without_bytes_is_named(model):
    with pytest.raises(BadRequestError) as raised:
        predict(model, None)
    assert raised.value.message == "row 1 of 1: has no picture; send one of image, path, url"


def test_table_without_pictures_is_refused(model):
    with pytest.raises(BadRequestError) as raised:
        model.predict(None, pd.DataFrame({"picture": [RED_PICTURE]}))
    assert raised.value.message == "columns: there is none of image, path, url; send pictures in the column image"


def test_bad_row_does_not_spoil_the_others(model):
    answers = predict(model, RED_PICTURE, b"hello", None, RED_PICTURE, errors="row")
    assert answers[0] == answers[3] == RED_ANSWER
    assert answers[1] == {
        "labels": [],
        "class_ids": [],
        "scores": [],
        "boxes": [],
        "width": 0,
        "height": 0,
        "error": "row 2 of 4: cannot be read as a picture (its content is of no known format); replace it by a JPEG, "
        "PNG, GIF or BMP file",
    }
    assert answers[2]["error"] == "row 3 of 4: has no picture; send one of image, path, url"


def test_only_bad_rows_are_answered_too(model):
    assert [bool(answer["error"]) for answer in predict(model, b"hello", errors="row")] == [True]


def test_classes_choose_before_their_number(model):
    both = encoded(coloured(40, 60, top_left=RED, elsewhere=GREEN))
    (answer,) = predict(model, both, classes=["it's green"], max_detections=1)
    assert answer["labels"] == ["it's green"]
    assert {*predict(model, both)[0]["labels"]} == {"red", "it's green"}


def test_rows_are_limited_where_a_server_answers(model, monkeypatch):
    images = [RED_PICTURE] * (model.limits.max_rows + 1)
    monkeypatch.delenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", raising=False)
    assert len(predict(model, *images)) == len(images)
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    with pytest.raises(BadRequestError) as raised:
        predict(model, *images)
    assert raised.value.message == "rows: 65 are more than 64; send fewer in a request"


def test_environment_allows_paths_and_limits(graph, tmp_path, monkeypatch):
    (tmp_path / "red.png").write_bytes(RED_PICTURE)
    monkeypatch.setenv("ODML_SERVE_PATHS", str(tmp_path))
    monkeypatch.setenv("ODML_SERVE_MAX_PIXELS", "2400")
    loaded = DetectorModel()
    loaded.load_context(mlflow.pyfunc.PythonModelContext({"graph": str(graph)}, {}))
    frame = pd.DataFrame(
        {"path": ["red.png", None], "image": [None, encoded(coloured(41, 60, top_left=RED, elsewhere=RED))]}
    )
    first, second = loaded.predict(None, frame, {"errors": "row"}).to_dict("records")
    assert first == RED_ANSWER
    assert "(60 x 41 pixels are more than 2400)" in second["error"]


def test_threads_get_their_own_answers(model):
    pictures = [RED_PICTURE, GREEN_PICTURE] * 20
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda picture: predict(model, picture)[0]["labels"], pictures))
    assert answers == [["red"], ["it's green"]] * 20


def test_message_of_a_bad_request_stays_short():
    error = BadRequestError("row 1 of 1: what is wrong")
    error.message = "Failed to predict data 'all of the data'. Error: row 1 of 1: what is wrong"
    assert json.loads(error.serialize_as_json())["message"] == "row 1 of 1: what is wrong"


def test_signature_has_the_columns_that_are_answered(model):
    answered = predict(model, RED_PICTURE)[0]
    assert signature().outputs.input_names() == list(answered)
    assert signature().inputs.input_names() == ["image", "path", "url"]
    assert [spec.name for spec in signature().params.params] == list(DEFAULTS)


def test_requirements_are_those_of_inference_at_the_versions_here():
    names = [re.match(r"[a-z-]+", requirement)[0] for requirement in requirements()]
    assert names in (["mlflow", "numpy", "pandas", "pillow", name] for name in ("tensorflow", "tensorflow-cpu"))
    assert f"numpy~={'.'.join(np.__version__.split('.')[:2])}" in requirements()


@pytest.fixture
def logged(graph, tracking_store):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="mlflow")
        with mlflow.start_run():
            uri = log_detector(graph, classes=LABEL_MAP.names, metadata={"odml.step": "7"})
        return Path(mlflow.artifacts.download_artifacts(uri))


def test_model_carries_its_graph_code_example_and_how_to_ask_it(logged):
    assert sorted(path.name for path in (logged / "artifacts" / "graph").iterdir()) == [
        "frozen_inference_graph.pb",
        "labels.pbtxt",
        "model.json",
    ]
    readme = (logged / "artifacts" / "README.md").read_text()
    assert "Classes: red, it's green\n" in readme
    assert "curl -s -H 'Content-Type: application/json' -d @- http://127.0.0.1:5001/invocations" in readme
    assert (logged / "code" / "odml" / "detector.py").is_file()
    assert (logged / "requirements.txt").read_text().split() == requirements()
    assert json.loads((logged / "serving_input_example.json").read_text())["dataframe_split"]["columns"] == ["image"]
    metadata = mlflow.models.Model.load(logged).metadata
    assert metadata == {"odml.step": "7", "curl": CURL}


def test_model_goes_into_an_image_with_all_that_it_needs(logged, tmp_path):
    from mlflow.models.cli import commands

    folder = tmp_path / "image"
    command = ["generate-dockerfile", "-m", str(logged), "--env-manager", "local", "-d", str(folder)]
    made = CliRunner().invoke(commands, command)
    assert made.exit_code == 0, made.output
    dockerfile = (folder / "Dockerfile").read_text()
    assert "C._serve('local')" in dockerfile
    (copied,) = re.findall(r"^COPY (model_dir\S*) /opt/ml/model$", dockerfile, re.MULTILINE)
    model = folder / copied
    for name in ("served.py", "code/odml/serving/model.py", "artifacts/graph/frozen_inference_graph.pb"):
        assert (model / name).is_file()
    assert (model / "requirements.txt").read_text().split() == requirements()


@pytest.mark.slow
def test_model_is_served_far_from_its_project(logged, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "photo.jpg").write_bytes(RED_PICTURE)
    with served(logged, elsewhere) as url:
        one, two = (base64.b64encode(picture).decode() for picture in (RED_PICTURE, GREEN_PICTURE))
        split = {"columns": ["image"], "data": [[one], [two]]}
        assert [row["labels"] for row in ask(url, {"dataframe_split": split})] == [["red"], ["it's green"]]
        for form in ("inputs", "instances", "dataframe_records"):
            assert ask(url, {form: [{"image": one}]}) == [RED_ANSWER]
        limited = {"dataframe_split": split, "params": {"score_threshold": 0.1, "max_detections": 3}}
        assert [len(row["scores"]) for row in ask(url, limited)] == [3, 1]

        no_picture = base64.b64encode(b"hello hello\n").decode()
        assert ask(url, {"dataframe_split": {"columns": ["image"], "data": [[one], [no_picture]]}}) == (
            400,
            "row 2 of 2: cannot be read as a picture (its content is of no known format); replace it by a JPEG, PNG,"
            " GIF or BMP file",
        )
        bad_row = {"dataframe_split": {"columns": ["image"], "data": [["abc"], [one]]}}
        no_base64 = "row 1 of 2: the image is no base64 text; encode the picture's bytes as base64"
        assert ask(url, bad_row) == (400, no_base64)
        assert [row["error"] for row in ask(url, bad_row | {"params": {"errors": "row"}})] == [no_base64, ""]
        assert ask(url, {"dataframe_split": split, "params": {"score_threshold": 2}}) == (
            400,
            "score_threshold: 2.0 is not in 0 to 1; send a number in that range",
        )
        line = CURL.replace("http://127.0.0.1:5001", url)
        asked = subprocess.run(line, shell=True, cwd=elsewhere, check=True, capture_output=True)
        assert json.loads(asked.stdout) == {"predictions": [RED_ANSWER]}


class served:  # noqa: N801
    """A real ``mlflow models serve`` of a model folder, in a folder that knows nothing of the project."""

    def __init__(self, model: Path, folder: Path) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        own = os.path.dirname(sys.executable)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local", "-p", str(port)],
            cwd=folder,
            env=environment | {"PATH": os.pathsep.join([own, os.environ["PATH"]])},
            start_new_session=True,
        )

    def __enter__(self) -> str:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.url}/ping")
                return self.url
            except urllib.error.URLError:
                assert self.process.poll() is None, "the server has ended"
                time.sleep(0.2)
        raise TimeoutError(self.url)

    def __exit__(self, *exception: object) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()


def ask(url: str, body: dict) -> list | tuple[int, str]:
    """Post a request; give the predictions, or the status and message of an error."""
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as response:
            return json.load(response)["predictions"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["message"]
