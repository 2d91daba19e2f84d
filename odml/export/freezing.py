"""A network as one graph of portable operations, its weights constants.

The tensors have the names that clients of the TF Object Detection API hard-code; the batch and the size of the
pictures stay open. Readers far older than this TensorFlow can load the graph: no functions, no control flow, no
attribute they do not know.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as v1
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.framework import meta_graph

Detect = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]

INPUT = "image_tensor"
OUTPUTS = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
OPTIONAL_OUTPUTS = ("raw_detection_boxes", "raw_detection_scores", "detection_multiclass_scores")

_NOT_PORTABLE = {
    *("Enter", "Exit", "If", "Merge", "NextIteration", "PartitionedCall", "StatefulPartitionedCall"),
    *("ResourceGather", "StatelessIf", "StatelessWhile", "Switch", "While", "XlaLaunch"),
}


def trace(detect: Detect) -> tf.types.experimental.ConcreteFunction:
    """Trace ``detect`` on uint8 [N, H, W, 3] pictures of open size; each output is a node of its own name."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name=INPUT)])
    def graph(image_tensor: tf.Tensor) -> dict[str, tf.Tensor]:
        tensors = detect(image_tensor)
        names = [*OUTPUTS, *(name for name in OPTIONAL_OUTPUTS if name in tensors)]
        return {name: tf.identity(tf.cast(tensors[name], tf.float32), name=name) for name in names}

    return graph.get_concrete_function()


def output_names(function: tf.types.experimental.ConcreteFunction) -> list[str]:
    """List the outputs of a traced detector, the four that every client knows first."""
    return [name for name in (*OUTPUTS, *OPTIONAL_OUTPUTS) if name in function.structured_outputs]


def freeze(function: tf.types.experimental.ConcreteFunction) -> v1.GraphDef:
    """Fold the weights of a traced detector into its graph.

    All that does not depend on the pictures is computed once: kernels with their normalisation, anchors.

    Raises:
        ValueError: the network uses operations that old readers cannot run.
    """
    kept, fixed = _split([function.graph.get_tensor_by_name(f"{name}:0") for name in output_names(function)])
    if found := sorted({operation.type for operation in kept} & _NOT_PORTABLE):
        raise ValueError(f"the network cannot be exported, its graph has the operations {', '.join(found)}")
    graph = strip(function.graph.as_graph_def())
    nodes = {node.name: node for node in graph.node}
    frozen = v1.GraphDef(versions=graph.versions)
    for name, value in _compute(function, fixed).items():
        _add_constant(frozen, _reference(name, fixed), value)
    for operation in kept:
        node = frozen.node.add()
        node.CopyFrom(nodes[operation.name])
        # Without control inputs: what is left has no effects to be put in order.
        node.input[:] = [_reference(tensor.name, fixed) for tensor in operation.inputs]
    return frozen


def strip(graph: v1.GraphDef) -> v1.GraphDef:
    """Copy a graph without the attributes and fields that older readers do not know, and without devices."""
    stripped = meta_graph_pb2.MetaGraphDef(graph_def=graph)
    meta_graph.strip_graph_default_valued_attrs(stripped)
    functions = stripped.graph_def.library.function
    for node in itertools.chain(stripped.graph_def.node, *(function.node_def for function in functions)):
        node.device = ""
        node.ClearField("experimental_type")
        node.ClearField("experimental_debug_info")
        for attribute in [name for name in node.attr if _is_new(node.op, name)]:
            del node.attr[attribute]
    return stripped.graph_def


def _is_new(operation: str, attribute: str) -> bool:
    return attribute.startswith("_") or (operation == "VarHandleOp" and attribute == "debug_name")


def _split(outputs: Sequence[tf.Tensor]) -> tuple[list[tf.Operation], set[str]]:
    """Give the operations behind the outputs that depend on the pictures, and the names of all else that they take."""
    operations = outputs[0].graph.get_operations()
    moving: set[tf.Operation] = set()
    for operation in operations:  # each stands after those that it takes from
        if operation.name == INPUT or _has_state(operation) or any(each.op in moving for each in operation.inputs):
            moving.add(operation)
    kept: set[tf.Operation] = set()
    fixed: set[str] = set()
    waiting = list(outputs)
    while waiting:
        tensor = waiting.pop()
        if tensor.op not in moving:
            fixed.add(tensor.name)
        elif tensor.op not in kept:
            kept.add(tensor.op)
            waiting += tensor.op.inputs
    return [operation for operation in operations if operation in kept], fixed


def _has_state(operation: tf.Operation) -> bool:
    """Say whether an operation may give another value each time, such as a random one; a variable does not here."""
    return operation.op_def.is_stateful and operation.type != "ReadVariableOp"


def _compute(function: tf.types.experimental.ConcreteFunction, tensors: set[str]) -> dict[str, np.ndarray]:
    variables = {id(variable.handle): variable for variable in function.graph.variables}
    feeds: dict[str, np.ndarray] = {}
    for outer, inner in function.graph.captures:
        if id(outer) in variables:
            value = variables[id(outer)].numpy()
            feeds |= {each.outputs[0].name: value for each in inner.consumers() if each.type == "ReadVariableOp"}
        else:
            feeds[inner.name] = outer.numpy()
    with v1.Session(graph=tf.Graph(), config=v1.ConfigProto(device_count={"GPU": 0})) as session:
        tf.graph_util.import_graph_def(function.graph.as_graph_def(), name="")
        return session.run({name: name for name in sorted(tensors)}, feeds)


def _reference(tensor: str, constants: set[str]) -> str:
    """Name a tensor as nodes name their inputs; one that is a constant now is the first output of its own node."""
    operation, index = tensor.rsplit(":", 1)
    if index == "0":
        return operation
    return f"{operation}/{index}" if tensor in constants else tensor


def _add_constant(graph: v1.GraphDef, name: str, value: np.ndarray) -> None:
    proto = tf.make_tensor_proto(value)
    node = graph.node.add(name=name, op="Const")
    node.attr["dtype"].type = proto.dtype
    node.attr["value"].tensor.CopyFrom(proto)
