"""What an exported graph takes: pictures, files of pictures, or records.

A frozen detector takes pictures as ``image_tensor``. What reads files and records is put before it and needs loops and
functions, which not all programs can run; those that feed ``image_tensor`` do not run them.
"""

from __future__ import annotations

import hashlib

import tensorflow as tf
import tensorflow.compat.v1 as v1

from odml.export.freezing import INPUT, strip

# The input types of the TF Object Detection API, each the name of its tensor: uint8 [N, H, W, 3]; files (JPEG, PNG)
# [N]; serialized tf.train.Example with the file under image/encoded [N]. Files of a batch must be of one size.
ENCODED = "encoded_image_string_tensor"
EXAMPLE = "tf_example"
INPUT_TYPES = (INPUT, ENCODED, EXAMPLE)


def take(graph: v1.GraphDef, input_type: str) -> v1.GraphDef:
    """Let a frozen detector take another input type too; what it took before may be fed as before.

    Args:
        input_type: ``image_tensor`` leaves the graph as it is; ``tf_example`` adds both others.
    """
    if input_type == INPUT:
        return graph
    with tf.Graph().as_default() as front:
        if input_type == EXAMPLE:
            encoded = v1.placeholder_with_default(_encoded(v1.placeholder(tf.string, [None], EXAMPLE)), [None], ENCODED)
        else:
            encoded = v1.placeholder(tf.string, [None], ENCODED)
        images = tf.map_fn(_decode, encoded, fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8))
        v1.placeholder_with_default(images, [None, None, None, 3], INPUT)
    taking = strip(front.as_graph_def())
    _name_by_content(taking)
    taking.node.extend(node for node in graph.node if node.name != INPUT)
    return taking


def _name_by_content(graph: v1.GraphDef) -> None:
    """Name a graph's functions by what they do: TensorFlow takes no two of one name that differ in a process.

    It counts its own, and goes on knowing what a function was before it was stripped; so files come out the same, too.
    """
    names = {}
    for function in graph.library.function:
        old = function.signature.name
        function.signature.name = ""
        digest = hashlib.sha256(function.SerializeToString(deterministic=True)).hexdigest()
        names[old] = function.signature.name = f"decoding_{digest[:16]}"
    for node in graph.node:
        for attribute in node.attr.values():
            if attribute.HasField("func"):
                attribute.func.name = names[attribute.func.name]


def _encoded(examples: tf.Tensor) -> tf.Tensor:
    # Not tf.io.parse_example: its operation is younger than TensorFlow 1.
    return tf.raw_ops.ParseExample(
        serialized=examples,
        names=[],
        sparse_keys=[],
        dense_keys=["image/encoded"],
        sparse_types=[],
        dense_defaults=[tf.constant([], tf.string)],
        dense_shapes=[[]],
    ).dense_values[0]


def _decode(encoded: tf.Tensor) -> tf.Tensor:
    # The operation reads JPEG too; TensorFlow 1 does not have that of tf.io.decode_image.
    return tf.io.decode_png(encoded, channels=3)
