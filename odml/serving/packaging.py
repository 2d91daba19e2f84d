"""Logging a detector as an MLflow model that carries its graph, its code, its requirements and how to ask it."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType, Array
from PIL import Image

import odml
from odml.detector import GRAPH_FILE
from odml.serving import parameters
from odml.serving.model import ANSWERED, GRAPH
from odml.serving.parameters import DEFAULTS
from odml.serving.pictures import COLUMNS, IMAGE
from odml.structures import LABELS_FILE

NAME = "detector"

CURL = """\
(printf '{"dataframe_split":{"columns":["image"],"data":[["'; base64 < photo.jpg | tr -d '\\n'; \\
 printf '"]]},"params":{"score_threshold":0.5,"max_detections":100}}') | \\
curl -s -H 'Content-Type: application/json' -d @- http://127.0.0.1:5001/invocations"""

_README = """\
# An object detector

Classes: {classes}

Serve it:

    mlflow models serve -m {uri} --env-manager local --port 5001

Ask it:

    {curl}

`image` takes the base64 text of a JPEG, PNG, GIF, BMP or WebP file of any size, one a row. Each row is answered by
`labels`, `class_ids`, `scores` and `boxes` (pixels `[x1, y1, x2, y2]` of the upright picture), best first, the
picture's `width` and `height`, and `error`, empty unless something is wrong. `params` may be left out; there are

    score_threshold   the least score, 0 to 1; 0.5
    max_detections    the most detections a picture; 100
    classes           names of the classes wanted, ["..."]; [] for all
    errors            fail: the first row that is no picture fails the request; row: its column error says why
"""


def signature() -> ModelSignature:
    """Give the columns and parameters of the served detector."""
    kinds: dict[str, Array | DataType] = {
        "labels": Array(DataType.string),
        "class_ids": Array(DataType.long),
        "scores": Array(DataType.double),
        "boxes": Array(Array(DataType.double)),
        "width": DataType.long,
        "height": DataType.long,
        "error": DataType.string,
    }
    # Of any type and optional, so that a bad value reaches the model, which can say what is wrong with which row:
    # MLflow's own decoding of a binary column fails the whole request.
    return ModelSignature(
        inputs=Schema([ColSpec(AnyType(), name, required=False) for name in COLUMNS]),
        outputs=Schema([ColSpec(kinds[name], name) for name in ANSWERED]),
        params=parameters.schema(),
    )


def log_detector(graph: Path, *, classes: tuple[str, ...], metadata: Mapping[str, str]) -> str:
    """Log an export folder's detector as the model "detector" of the active MLflow run; give its ``models:/`` URI.

    Only what detection needs is taken from the folder: the frozen graph, the label map, ``model.json``.

    Args:
        classes: the names in the label map, for people to read.
        metadata: kept with the model, for instance the run that trained it.
    """
    with _contents(graph, classes, metadata) as contents:
        return mlflow.pyfunc.log_model(name=NAME, **contents).model_uri


def save_detector(graph: Path, folder: Path, *, classes: tuple[str, ...]) -> None:
    """Write the same model into a new folder, which can be served as well: a detector for a machine without a store."""
    with _contents(graph, classes, {}) as contents:
        mlflow.pyfunc.save_model(path=str(folder), **contents)


@contextmanager
def _contents(graph: Path, classes: tuple[str, ...], metadata: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as temporary:
        needed = Path(temporary, GRAPH)
        needed.mkdir()
        for name in (GRAPH_FILE, LABELS_FILE, "model.json"):
            shutil.copy(graph / name, needed)
        readme = Path(temporary, "README.md")
        uri = "models:/detector@champion"
        readme.write_text(_README.format(classes=", ".join(classes), uri=uri, curl=CURL.replace("\n", "\n    ")))
        yield {
            "python_model": str(Path(__file__).with_name("served.py")),
            "artifacts": {GRAPH: str(needed), "readme": str(readme)},
            "code_paths": [str(Path(odml.__file__).parent)],
            "pip_requirements": requirements(),
            "signature": signature(),
            "input_example": (pd.DataFrame({IMAGE: [_example_picture()]}), dict(DEFAULTS)),
            "metadata": {**metadata, "curl": CURL},
        }


def requirements() -> list[str]:
    """List what the served model needs, at the versions here or later ones of the same major."""
    tensorflow = "tensorflow" if _installed("tensorflow") else "tensorflow-cpu"
    names = ("mlflow", "numpy", "pandas", "pillow", tensorflow)
    return [f"{name}~={'.'.join(version(name).split('.')[:2])}" for name in names]


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _example_picture() -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (64, 48), (90, 120, 150)).save(encoded, "png")
    return encoded.getvalue()
