"""What programs read about a TensorFlow Lite detector in its file: how to scale pictures, what the outputs are, names.

MediaPipe, ML Kit and Android Studio want it. It is a flatbuffer of its own in the model's (TensorFlow Lite's
``metadata_schema.fbs``, identifier M001), and the file of the names is a zip archive behind the model. Google's writer
of it comes with MediaPipe alone, whose package is larger than all that it would write.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

LABELS_FILE = "labels.txt"
NAME = "TFLITE_METADATA"

_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.2.0"  # the least that knows groups of outputs
# Of pixels 0..255, to -1..1.
_MEAN = _DEVIATION = 127.5

# The places of fields in their tables, and the values of enumerations and unions, as the schema counts them.
_FEATURE, _IMAGE, _BOXES = 1, 2, 3
_RGB = 1
_BOUNDARIES = 1
_NORMALIZATION = 1
_VALUE_LABELS = 3

# A table: the place of each field that it has, and its value. Whole numbers are enumerations, of one byte.
_Table = Mapping[int, Any]


def describe(model: Any, names: Sequence[str]) -> None:
    """Put the metadata of a detector whose outputs are boxes, classes, scores and count into a model.

    Args:
        model: as ``flatbuffer_utils`` has read it; changed.
        names: of the classes.
    """
    content = np.frombuffer(_metadata(names), np.uint8)
    model.buffers.append(schema.BufferT(data=content))
    entry = schema.MetadataT(name=NAME, buffer=len(model.buffers) - 1)
    model.metadata = [*(model.metadata or []), entry]


def with_labels(content: bytes, names: Sequence[str]) -> bytes:
    """Append the file of the names, one a line, to a model that ``describe`` has changed."""
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS_FILE), labels(names))  # of 1980, so that files come out the same
    return file.getvalue()


def labels(names: Sequence[str]) -> str:
    """Write names as ``labels.txt`` has them: one a line, that of class 0 first."""
    return "".join(f"{name}\n" for name in names)


def _metadata(names: Sequence[str]) -> bytes:
    outputs = {
        "location": (
            "boxes, yxyx, 0..1 of the picture",
            # The places of left, top, right and bottom in a box.
            {0: _BOXES, 1: {0: np.array([1, 0, 3, 2], np.uint32), 1: _BOUNDARIES}},
        ),
        "category": ("classes, from 0", {0: _FEATURE, 1: {}}),
        "score": ("scores, 0..1, descending", {0: _FEATURE, 1: {}}),
        "number of detections": ("how many rows are detections", {0: _FEATURE, 1: {}}),
    }
    tensors: list[dict[int, Any]] = [
        {0: name, 1: description, 3: content} for name, (description, content) in outputs.items()
    ]
    tensors[1][6] = [{0: LABELS_FILE, 1: "names of the classes", 2: _VALUE_LABELS}]
    graph = {
        2: [_image()],
        3: tensors,
        8: [{0: "detection_result", 1: ["location", "category", "score"]}],
    }
    model = {0: "ObjectDetector", 1: f"Finds {', '.join(names)} in pictures.", 3: [graph], 7: _PARSER_VERSION}
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write_table(builder, model), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _image() -> _Table:
    normalization = {0: np.array([_MEAN], np.float32), 1: np.array([_DEVIATION], np.float32)}
    return {
        0: "image",
        1: "the picture, stretched to the input's size",
        3: {0: _IMAGE, 1: {0: _RGB}},
        4: [{0: _NORMALIZATION, 1: normalization}],
    }


def _write_table(builder: flatbuffers.Builder, fields: _Table) -> int:
    """Write a table, after all that it holds; give its place."""
    places = {slot: _write(builder, value) for slot, value in fields.items() if not isinstance(value, int)}
    builder.StartObject(max(fields, default=-1) + 1)
    for slot, value in fields.items():
        if slot in places:
            builder.PrependUOffsetTRelativeSlot(slot, places[slot], 0)
        else:
            builder.PrependUint8Slot(slot, value, 0)
    return builder.EndObject()


def _write(builder: flatbuffers.Builder, value: Any) -> int:
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, Mapping):
        return _write_table(builder, value)
    places = [_write(builder, each) for each in value]
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return builder.EndVector()
