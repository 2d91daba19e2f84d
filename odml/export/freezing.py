"""A network as one graph of portable operations, its weights constants.

The tensors have the names that clients of the TF Object Detection API hard-code; the batch and the size of the
pictures stay open. Readers far older than this TensorFlow can load the graph: no functions, no control flow, no
attribute they do not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2
from tensorflow.python.framework import meta_graph
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.training.saver import export_meta_graph

Detect = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]

INPUT = "image_tensor"
OUTPUTS = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
OPTIONAL_OUTPUTS = ("raw_detection_boxes", "raw_detection_scores", "detection_multiclass_scores")

_NOT_PORTABLE = {
    *("Enter", "Exit", "If", "Merge", "NextIteration", "PartitionedCall", "StatefulPartitionedCall"),
    *("StatelessIf", "StatelessWhile", "Switch", "While", "XlaLaunch"),
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


def freeze(function: tf.types.experimental.ConcreteFunction) -> tf.compat.v1.GraphDef:
    """Fold the weights of a traced detector into its graph.

    Raises:
        ValueError: the network uses operations that old readers cannot run.
    """
    outputs = output_names(function)
    graph = convert_variables_to_constants_v2(function).graph.as_graph_def()
    graph = _fold_constants(graph, outputs)
    graph = strip(graph)
    operations = {node.op for node in graph.node}
    if found := sorted(operations & _NOT_PORTABLE | {op for op in operations if op.startswith("_")}):
        raise ValueError(f"the network cannot be exported, its graph has the operations {', '.join(found)}")
    return graph


def strip(graph: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """Copy a graph without the attributes that older readers do not know, and without devices."""
    stripped = meta_graph_pb2.MetaGraphDef(graph_def=graph)
    meta_graph.strip_graph_default_valued_attrs(stripped)
    for node in stripped.graph_def.node:
        node.device = ""
        for attribute in [name for name in node.attr if _is_new(node.op, name)]:
            del node.attr[attribute]
    return stripped.graph_def


def _is_new(operation: str, attribute: str) -> bool:
    return attribute.startswith("_") or (operation == "VarHandleOp" and attribute == "debug_name")


def _fold_constants(graph: tf.compat.v1.GraphDef, outputs: list[str]) -> tf.compat.v1.GraphDef:
    """Compute what does not depend on the picture, anchors and folded weights, once."""
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(graph, name="")
    meta = export_meta_graph(graph_def=graph, graph=imported)
    meta.collection_def["train_op"].node_list.value.extend(outputs)  # what Grappler must keep
    configuration = config_pb2.ConfigProto()
    rewriting = configuration.graph_options.rewrite_options
    rewriting.optimizers.append("constfold")  # the others make operations that only this TensorFlow knows
    rewriting.min_graph_nodes = -1
    rewriting.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    return tf_optimizer.OptimizeGraph(configuration, meta)
