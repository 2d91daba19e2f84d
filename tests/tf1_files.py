"""Files as TensorFlow 1 wrote them: checkpoints and frozen graphs of named variables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as v1
from tensorflow.core.protobuf import saver_pb2

from odml.architectures import Architecture, by_slim_name


def values_of(network: Architecture) -> dict[str, np.ndarray]:
    """Give a network's variables under slim's names."""
    return {name: variable.numpy() for name, variable in by_slim_name(network.variables).items()}


def write_checkpoint(prefix: Path, values: Mapping[str, np.ndarray], *, version: int = saver_pb2.SaverDef.V2) -> None:
    """Write ``<prefix>.index`` and ``.data-*``, or in the first version the one file ``<prefix>``."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with tf.Graph().as_default(), v1.Session() as session:
        inputs = {name: v1.placeholder(value.dtype, value.shape) for name, value in values.items()}
        variables = {name: v1.Variable(each, use_resource=False) for name, each in inputs.items()}
        session.run(v1.global_variables_initializer(), {inputs[name]: value for name, value in values.items()})
        saver = v1.train.Saver(variables, write_version=version)
        saver.save(session, str(prefix), write_meta_graph=False, write_state=False)


def write_frozen_graph(path: Path, values: Mapping[str, np.ndarray]) -> None:
    """Write a graph whose constants have the variables' names, each read by an operation, as TF 1 froze them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.Graph().as_default() as graph:
        for name, value in values.items():
            tf.identity(tf.constant(value, name=name), name=f"{name}/read")
    path.write_bytes(graph.as_graph_def().SerializeToString())
