"""The two other forms of an exported detector: a TensorFlow 1 SavedModel and a TensorFlow 1 checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as v1
from tensorflow.core.protobuf import meta_graph_pb2

from odml.export.freezing import INPUT, strip
from odml.export.inputs import ENCODED, EXAMPLE, take

_READING = "reading"  # the scope of a SavedModel's second detector, which takes files and records


def write_saved_model(folder: Path, graph: v1.GraphDef, outputs: list[str], *, input_type: str = INPUT) -> None:
    """Write a frozen detector as a SavedModel for TensorFlow Serving, TF 1 and TF 2 readers.

    Its signature ``serving_default`` takes the input type as ``inputs``. Others bear their input's name:
    ``input_tensor`` takes pictures, ``encoded_image_string_tensor`` files of pictures, ``tf_example`` records. The
    outputs have the tensors' names in all.
    """
    # The TF Object Detection API's exporters name the input `inputs` (TF 1) and `input_tensor` (TF 2).
    signatures = {
        "serving_default": ("inputs", input_type),
        "input_tensor": ("input_tensor", INPUT),
        ENCODED: (ENCODED, ENCODED),
        EXAMPLE: (EXAMPLE, EXAMPLE),
    }
    with v1.Session(graph=tf.Graph()) as session:
        tf.graph_util.import_graph_def(graph, name="")
        _import_again(graph)
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            [v1.saved_model.tag_constants.SERVING],
            signature_def_map={
                key: _signature(session.graph, name, tensor, outputs) for key, (name, tensor) in signatures.items()
            },
            strip_default_attrs=True,
        )
        builder.save()


def _import_again(graph: v1.GraphDef) -> None:
    """Import a frozen detector once more, behind what reads files and records; both share the weights.

    In one graph for all inputs, programs that look for what one input needs would find what reads the others.
    """
    constants = {node.name for node in graph.node if node.op == "Const"}
    taking = take(graph, EXAMPLE)
    moving = v1.GraphDef(versions=graph.versions, library=taking.library)
    moving.node.extend(node for node in taking.node if node.name not in constants)
    shared = {f"{name}:0": v1.get_default_graph().get_tensor_by_name(f"{name}:0") for name in constants}
    tf.graph_util.import_graph_def(moving, input_map=shared, name=_READING)


def _signature(graph: tf.Graph, input_name: str, tensor: str, outputs: list[str]) -> meta_graph_pb2.SignatureDef:
    scope = "" if tensor == INPUT else f"{_READING}/"
    return meta_graph_pb2.SignatureDef(
        inputs={input_name: _tensor_info(graph, scope + tensor)},
        outputs={name: _tensor_info(graph, scope + name) for name in outputs},
        method_name=v1.saved_model.signature_constants.PREDICT_METHOD_NAME,
    )


def _tensor_info(graph: tf.Graph, name: str) -> meta_graph_pb2.TensorInfo:
    tensor = graph.get_tensor_by_name(f"{name}:0")
    return meta_graph_pb2.TensorInfo(
        name=tensor.name, dtype=tensor.dtype.as_datatype_enum, tensor_shape=tensor.shape.as_proto()
    )


def write_checkpoint(folder: Path, function: tf.types.experimental.ConcreteFunction, names: Mapping[int, str]) -> None:
    """Write ``model.ckpt.{data,index,meta}`` and ``checkpoint`` of a traced detector.

    ``.meta`` holds the detector's graph with its variables, so that `import_meta_graph` and `Saver.restore` give a
    graph that detects.

    Args:
        names: of each variable that the function captures, by the id of its handle.
    """
    values = {id(variable.handle): variable.numpy() for variable in function.graph.variables}
    constants = {id(outer): outer.numpy() for outer, _ in function.graph.captures if id(outer) not in values}
    with tf.Graph().as_default(), v1.Session() as session:
        variables = {key: _variable(names[key], value) for key, value in values.items()}
        inputs = {
            inner.name: variables[id(outer)].handle if id(outer) in variables else tf.constant(constants[id(outer)])
            for outer, inner in function.graph.captures
        }
        tf.graph_util.import_graph_def(strip(function.graph.as_graph_def()), input_map=inputs, name="")
        initial = {variable.initializer.inputs[1]: values[key] for key, variable in variables.items()}
        session.run([variable.initializer for variable in variables.values()], initial)
        _save(session, list(variables.values()), folder)


def _variable(name: str, value: np.ndarray) -> v1.Variable:
    return v1.get_variable(name, value.shape, value.dtype, v1.zeros_initializer(), use_resource=True)


def _save(session: v1.Session, variables: list[v1.Variable], folder: Path) -> None:
    saver = v1.train.Saver(variables, save_relative_paths=True)
    prefix = saver.save(session, str(folder / "model.ckpt"), write_meta_graph=False)
    meta = v1.train.export_meta_graph(graph=session.graph, saver_def=saver.as_saver_def(), strip_default_attrs=True)
    meta.graph_def.CopyFrom(strip(meta.graph_def))
    Path(f"{prefix}.meta").write_bytes(meta.SerializeToString())
