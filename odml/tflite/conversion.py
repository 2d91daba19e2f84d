"""A network and the post-processing operation -> the bytes of a TensorFlow Lite file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import attr_value_pb2
from tensorflow.lite.tools import flatbuffer_utils

from odml.architectures import SSD
from odml.targets import CODE_VARIANCE
from odml.tflite.metadata import describe, with_labels

INPUT = "normalized_input_image_tensor"
POSTPROCESS = "TFLite_Detection_PostProcess"


class Detector:
    """A network as it is now and what follows it, traced as the ``function`` that the converter takes.

    Args:
        names: of the classes.
    """

    def __init__(self, network: SSD, names: Sequence[str]):
        self.network = network
        self.names = tuple(names)
        corners = network.anchors.reshape(-1, 2, 2)
        anchors = np.hstack([corners.mean(axis=1), corners[:, 1] - corners[:, 0]])  # [A, 4] centre, height, width
        rows = network.configuration.detection.max_detections
        shapes = {"boxes": [1, rows, 4], "classes": [1, rows], "scores": [1, rows], "count": [1]}

        @tf.function(autograph=False, experimental_implements=_postprocess(network))
        def postprocess(codes: tf.Tensor, scores: tf.Tensor, anchors: tf.Tensor) -> tuple[tf.Tensor, ...]:
            # The converter puts the operation in the place of this function.
            return tuple(tf.zeros(shape) for shape in shapes.values())

        # The converter saves and loads all variables, for each form anew, which takes far longer than it itself does.
        constants = [(weight, tf.constant(weight.numpy())) for weight in network.weights]

        @tf.function(
            autograph=False,
            input_signature=[tf.TensorSpec([1, *network.configuration.image_size, 3], tf.float32, name=INPUT)],
        )
        def detect(x: tf.Tensor) -> dict[str, tf.Tensor]:
            with keras.StatelessScope(constants):
                raw = network.raw_outputs(x)
            scores = tf.sigmoid(raw["class_predictions_with_background"])
            return dict(zip(shapes, postprocess(raw["box_encodings"], scores, tf.constant(anchors)), strict=True))

        self.function = detect.get_concrete_function()


def _postprocess(network: SSD) -> str:
    """Name the operation and its settings in protobuf's text format, as the converter reads them off a function."""
    detection = network.configuration.detection
    numbers = {
        "max_detections": detection.max_detections,
        "max_classes_per_detection": 1,
        "detections_per_class": detection.max_detections_per_class,
        "num_classes": network.num_classes,
    }
    fractions = {
        "nms_score_threshold": detection.score_threshold,
        "nms_iou_threshold": detection.iou_threshold,
        **dict(zip(("y_scale", "x_scale", "h_scale", "w_scale"), (1 / each for each in CODE_VARIANCE), strict=True)),
    }
    value = attr_value_pb2.AttrValue
    settings = {
        **{name: value(i=number) for name, number in numbers.items()},
        **{name: value(f=fraction) for name, fraction in fractions.items()},
        # Class by class, the interpreter loses the last classes if its threads cannot share them out evenly (2.21).
        "use_regular_nms": value(b=False),
    }
    operation = attr_value_pb2.NameAttrList(name=POSTPROCESS, attr=settings)
    return text_format.MessageToString(operation, as_one_line=True)


def convert_to_float32(detector: Detector) -> bytes:
    """Convert as it is."""
    return _convert(_converter(detector), detector.names)


def convert_to_float16(detector: Detector) -> bytes:
    """Convert with weights of 16 bits; programs compute with 16 or 32, as they can."""
    converter = _converter(detector)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return _convert(converter, detector.names)


def convert_to_int8(detector: Detector, calibration: Callable[[], Iterable[np.ndarray]]) -> bytes:
    """Convert with weights, activations and input of 8 bits (Jacob et al. 2018); the post-processing stays float32.

    Args:
        calibration: gives inputs x [1, H, W, 3], at least one; what they make of each activation is its range.
    """
    converter = _converter(detector)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x] for x in calibration())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    return _convert(converter, detector.names)


def _converter(detector: Detector) -> Any:
    converter = tf.lite.TFLiteConverter.from_concrete_functions([detector.function], tf.Module())
    converter.allow_custom_ops = True
    return converter


def _convert(converter: Any, names: Sequence[str]) -> bytes:
    with warnings.catch_warnings():
        # It asks for the input's mean and deviation, although the calibration gives its range.
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")
        content = converter.convert()
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    _restore_order(model)
    describe(model, names)
    return with_labels(bytes(flatbuffer_utils.convert_object_to_bytearray(model)), names)


def _restore_order(model: Any) -> None:
    """Give a file the order of outputs, and the names, that programs know; the converter has an order of its own."""
    graph = model.subgraphs[0]
    graph.outputs = list(postprocess_operation(model).outputs)
    graph.tensors[graph.inputs[0]].name = INPUT
    for number, output in enumerate(graph.outputs):
        graph.tensors[output].name = f"{POSTPROCESS}:{number}" if number else POSTPROCESS


def postprocess_operation(model: Any) -> Any:
    """Give the last operation of a file, as ``flatbuffer_utils`` has read it."""
    return next(
        operation
        for operation in model.subgraphs[0].operators
        if model.operatorCodes[operation.opcodeIndex].customCode == POSTPROCESS.encode()
    )
