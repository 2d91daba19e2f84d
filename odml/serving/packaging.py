"""Logging a detector as an MLflow model that carries its graph, its code, its requirements and how to ask it."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array
from PIL import Image

import odml
from odml.detector import GRAPH_FILE, LABELS_FILE
from odml.serving.model import DEFAULTS, GRAPH, IMAGE

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

`image` takes the base64 text of a JPEG, PNG, GIF or BMP file of any size, one a row. Each row is answered by `labels`,
`class_ids`, `scores` and `boxes` (pixels `[x1, y1, x2, y2]` of the upright picture), best first, and the picture's
`width` and `height`. `params` may be left out.
"""


def signature() -> ModelSignature:
    """Give the columns and parameters of the served detector."""
    outputs: dict[str, Array | DataType] = {
        "labels": Array(DataType.string),
        "class_ids": Array(DataType.long),
        "scores": Array(DataType.double),
        "boxes": Array(Array(DataType.double)),
        "width": DataType.long,
        "height": DataType.long,
    }
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, IMAGE)]),
        outputs=Schema([ColSpec(kind, name) for name, kind in outputs.items()]),
        params=ParamSchema(
            [
                ParamSpec("score_threshold", DataType.double, DEFAULTS["score_threshold"]),
                ParamSpec("max_detections", DataType.long, DEFAULTS["max_detections"]),
            ]
        ),
    )


def log_detector(graph: Path, *, classes: tuple[str, ...], metadata: Mapping[str, str]) -> str:
    """Log an export folder's detector as the model "detector" of the active MLflow run; give its ``models:/`` URI.

    Only what detection needs is taken from the folder: the frozen graph, the label map, ``model.json``.

    Args:
        classes: the names in the label map, for people to read.
        metadata: kept with the model, for instance the run that trained it.
    """
    with tempfile.TemporaryDirectory() as temporary:
        needed = Path(temporary, GRAPH)
        needed.mkdir()
        for name in (GRAPH_FILE, LABELS_FILE, "model.json"):
            shutil.copy(graph / name, needed)
        readme = Path(temporary, "README.md")
        uri = "models:/detector@champion"
        readme.write_text(_README.format(classes=", ".join(classes), uri=uri, curl=CURL.replace("\n", "\n    ")))
        logged = mlflow.pyfunc.log_model(
            name=NAME,
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={GRAPH: str(needed), "readme": str(readme)},
            code_paths=[str(Path(odml.__file__).parent)],
            pip_requirements=requirements(),
            signature=signature(),
            input_example=(pd.DataFrame({IMAGE: [_example_picture()]}), dict(DEFAULTS)),
            metadata={**metadata, "curl": CURL},
        )
    return logged.model_uri


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
