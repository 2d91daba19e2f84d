"""The metadata as a reader of TensorFlow Lite's ``metadata_schema.fbs`` finds them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flatbuffers import encode, number_types, packer
from flatbuffers.table import Table
from tensorflow.lite.tools import flatbuffer_utils

from odml import tflite

NAME, DESCRIPTION = 0, 1  # the places of fields in most tables of the schema


def field(table: Table, slot: int) -> int:
    """Give the place of a field's value."""
    offset = table.Offset(4 + 2 * slot)
    assert offset, f"no field {slot}"
    return offset


def text(table: Table, slot: int) -> str:
    return table.String(field(table, slot) + table.Pos).decode()


def number(table: Table, slot: int) -> int:
    return table.Get(number_types.Uint8Flags, field(table, slot) + table.Pos)


def child(table: Table, slot: int) -> Table:
    return Table(table.Bytes, table.Indirect(field(table, slot) + table.Pos))


def rows(table: Table, slot: int, read: Callable[[Table, int], Any]) -> list:
    start = table.Vector(field(table, slot))
    return [read(table, start + 4 * index) for index in range(table.VectorLen(field(table, slot)))]


def tables(table: Table, slot: int) -> list[Table]:
    return rows(table, slot, lambda owner, place: Table(owner.Bytes, owner.Indirect(place)))


def texts(table: Table, slot: int) -> list[str]:
    return rows(table, slot, lambda owner, place: owner.String(place).decode())


def numbers(table: Table, slot: int, flags: Any) -> list:
    return table.GetVectorAsNumpy(flags, field(table, slot)).tolist()


@pytest.fixture(scope="module", params=tflite.FILES)
def file(request, written):
    return written.folder / tflite.FILES[request.param]


@pytest.fixture(scope="module")
def metadata(file) -> Table:
    model = flatbuffer_utils.read_model(str(file))
    (entry,) = [each for each in model.metadata if each.name in (b"TFLITE_METADATA", "TFLITE_METADATA")]
    content = bytes(np.asarray(model.buffers[entry.buffer].data, np.uint8))
    assert content[4:8] == b"M001"
    return Table(bytearray(content), encode.Get(packer.uoffset, content, 0))


def test_model_is_an_object_detector(metadata):
    assert text(metadata, NAME) == "ObjectDetector"
    assert text(metadata, DESCRIPTION) == "Finds green, red in pictures."
    assert text(metadata, 7) == "1.2.0"  # the least parser


def test_input_is_a_picture_that_is_scaled_to_one_around_zero(metadata):
    (graph,) = tables(metadata, 3)
    (image,) = tables(graph, 2)
    assert text(image, NAME) == "image"
    content = child(image, 3)
    assert number(content, 0) == 2  # ImageProperties
    assert number(child(content, 1), 0) == 1  # RGB
    (unit,) = tables(image, 4)
    assert number(unit, 0) == 1  # NormalizationOptions
    options = child(unit, 1)
    assert [numbers(options, slot, number_types.Float32Flags) for slot in (0, 1)] == [[127.5], [127.5]]


def test_outputs_are_boxes_classes_scores_and_count(metadata):
    (graph,) = tables(metadata, 3)
    outputs = tables(graph, 3)
    assert [text(each, NAME) for each in outputs] == ["location", "category", "score", "number of detections"]
    assert [number(child(each, 3), 0) for each in outputs] == [3, 1, 1, 1]  # BoundingBoxProperties, FeatureProperties
    boxes = child(child(outputs[0], 3), 1)
    assert numbers(boxes, 0, number_types.Uint32Flags) == [1, 0, 3, 2]  # left, top, right, bottom
    assert number(boxes, 1) == 1  # BOUNDARIES
    (group,) = tables(graph, 8)
    assert text(group, NAME) == "detection_result"
    assert texts(group, 1) == ["location", "category", "score"]


def test_names_are_in_the_file_itself(metadata, file):
    (graph,) = tables(metadata, 3)
    (labels,) = tables(tables(graph, 3)[1], 6)
    assert text(labels, NAME) == "labels.txt"
    assert number(labels, 2) == 3  # TENSOR_VALUE_LABELS: a line for each value of the output
    with zipfile.ZipFile(file) as archive:
        assert archive.read("labels.txt") == b"green\nred\n"
