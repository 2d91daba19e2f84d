"""Several GPUs and several hosts: the strategy of a training, and what its workers tell one another.

A worker is one process on one host, with one replica of the network on each of its GPUs, or one on its CPU. The chief
is the worker that keeps the run and its checkpoints. What is a collective here must be called by all workers, in the
same order: each waits until the others come to it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Literal, TypeAlias

import keras
import numpy as np
import pydantic
import tensorflow as tf

from odml.errors import ConfigurationError, TrainingError, first_line

logger = logging.getLogger(__name__)

Variable: TypeAlias = keras.Variable | tf.Variable

_EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
_Address = Annotated[str, pydantic.Field(pattern=r"^\S+:\d+$")]


class _Jobs(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    chief: list[_Address] = pydantic.Field(default=[], max_length=1)
    worker: list[_Address] = []


class _Task(pydantic.BaseModel):
    type: Literal["chief", "worker"]
    index: pydantic.NonNegativeInt


class _Cluster(pydantic.BaseModel):
    """TF_CONFIG as tf.distribute's documentation describes it, without parameter servers."""

    cluster: _Jobs = _Jobs()
    task: _Task

    @pydantic.model_validator(mode="after")
    def _has_the_task(self) -> _Cluster:
        if self.task.index >= len(getattr(self.cluster, self.task.type)):
            raise ValueError(f"cluster has no {self.task.type} {self.task.index}")
        return self

    @property
    def addresses(self) -> list[str]:
        return [*self.cluster.chief, *self.cluster.worker]


def make_strategy() -> tf.distribute.Strategy:
    """Make the strategy for the GPUs that TensorFlow sees and the hosts that TF_CONFIG names.

    Several workers: a MultiWorkerMirroredStrategy, once all of them are there. One with several GPUs: a
    MirroredStrategy; otherwise the default one. Call it in the main thread, before TensorFlow does anything else.

    Raises:
        ConfigurationError: TF_CONFIG is damaged, or the workers cannot come together.
    """
    cluster = _read_cluster()
    gpus = tf.config.list_physical_devices("GPU")
    if cluster and len(cluster.addresses) > 1:
        return _connect(cluster, has_gpus=bool(gpus))
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


def _read_cluster() -> _Cluster | None:
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        data = json.loads(text)
        return _Cluster.model_validate(data) if data else None
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = ": ".join(part for part in (where, first["msg"].removeprefix("Value error, ")) if part)
    except ValueError as error:
        reason = f"is not JSON: {error}"
    raise ConfigurationError(f"TF_CONFIG: {reason}; write {_EXAMPLE}, or unset it to train on this host alone")


def _connect(cluster: _Cluster, *, has_gpus: bool) -> tf.distribute.Strategy:
    implementation = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=implementation.AUTO if has_gpus else implementation.RING
    )
    logger.info("waiting for the workers of TF_CONFIG: %s", ", ".join(cluster.addresses))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # TensorFlow waits outside of Python, where no handler is called.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except tf.errors.OpError as error:
        raise ConfigurationError(
            f"TF_CONFIG: the workers do not come together ({first_line(error)}); see that each address is one of this "
            "job alone, and that all workers are started"
        ) from None
    finally:
        # TensorFlow takes SIGTERM for itself.
        for number, handler in handlers.items():
            signal.signal(number, handler)


def has_several_workers(strategy: tf.distribute.Strategy) -> bool:
    """Say whether the strategy spans several processes."""
    return strategy.cluster_resolver is not None


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Say whether this process keeps the run and its checkpoints, as a single one does."""
    resolver = strategy.cluster_resolver
    if resolver is None:
        return True
    return resolver.task_id == 0 and (resolver.task_type == "chief" or "chief" not in resolver.cluster_spec().jobs)


def require_even_shares(strategy: tf.distribute.Strategy, batch_size: int) -> None:
    """Raise ConfigurationError if a batch cannot be shared evenly among the replicas."""
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ConfigurationError(
            f"batch_size: {batch_size} images cannot be shared evenly among {replicas} devices; give a multiple of "
            f"{replicas}"
        )


def share_text(strategy: tf.distribute.Strategy, text: str) -> str:
    """Give every worker the chief's text, without regard to that of the others. A collective.

    A single worker keeps its own.
    """
    if not has_several_workers(strategy):
        return text
    own = np.frombuffer(text.encode(), np.uint8).astype(np.float32)
    (size,) = _firsts(strategy, [tf.constant(float(len(own)))])
    (sent,) = _firsts(strategy, [tf.constant(own if is_chief(strategy) else np.zeros(int(size), np.float32))])
    return sent.numpy().astype(np.uint8).tobytes().decode()


def share_values(strategy: tf.distribute.Strategy, variables: Sequence[Variable]) -> None:
    """Give the variables of all workers the values that the chief's have. A collective; nothing for a single worker."""
    if not has_several_workers(strategy):
        return
    # Values go together if they have one type, and across GPUs TensorFlow does not add all integers.
    for is_integer, dtype in ((False, tf.float32), (True, tf.float64)):
        chosen = [variable for variable in variables if tf.as_dtype(variable.dtype).is_integer == is_integer]
        values = _firsts(strategy, [tf.cast(_tensor(variable), dtype) for variable in chosen])
        for variable, value in zip(chosen, values, strict=True):
            variable.assign(tf.cast(value, variable.dtype))


def _firsts(strategy: tf.distribute.Strategy, values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    @tf.function(autograph=False)
    def give(values: list[tf.Tensor]) -> list[tf.Tensor]:
        given = strategy.run(_of_first, args=(values,))
        return [strategy.experimental_local_results(value)[0] for value in given]

    return give(list(values))


def _of_first(values: list[tf.Tensor]) -> list[tf.Tensor]:
    """Give, in a replica, the values of the first one, to the last bit."""
    context = tf.distribute.get_replica_context()
    is_first = context.replica_id_in_sync_group == 0
    return context.all_reduce("SUM", [tf.where(is_first, value, tf.zeros_like(value)) for value in values])


def _tensor(variable: Variable) -> tf.Tensor:
    return tf.convert_to_tensor(variable.value if isinstance(variable, keras.Variable) else variable)


def averaging(strategy: tf.distribute.Strategy, variables: Sequence[Variable]) -> Callable[[], None]:
    """Make the function that gives variables, on all replicas, the mean of what the replicas have. A collective.

    What is equal already stays as it is, to the last bit.
    """

    def average() -> None:
        values = [_tensor(variable) for variable in variables]
        firsts = _of_first(values)
        differences = [value - first for value, first in zip(values, firsts, strict=True)]
        means = tf.distribute.get_replica_context().all_reduce("MEAN", differences)
        for variable, first, mean in zip(variables, firsts, means, strict=True):
            variable.assign(first + mean)

    @tf.function(autograph=False)
    def run() -> None:
        strategy.run(average)

    return run if variables and strategy.num_replicas_in_sync > 1 else lambda: None


def voting(strategy: tf.distribute.Strategy) -> Callable[[bool], bool]:
    """Make the function that says whether any worker says yes. A collective; a single worker decides alone."""

    def add(vote: tf.Tensor) -> tf.Tensor:
        return tf.distribute.get_replica_context().all_reduce("SUM", tf.identity(vote))

    @tf.function(autograph=False)
    def count(vote: tf.Tensor) -> tf.Tensor:
        return strategy.experimental_local_results(strategy.run(add, args=(vote,)))[0]

    def vote(yes: bool) -> bool:
        return bool(count(tf.constant(float(yes))) > 0)

    return vote if has_several_workers(strategy) else bool


@contextmanager
def lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Say in one line, by a TrainingError, that another worker is gone."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError):
        if not has_several_workers(strategy):
            raise
        raise TrainingError(
            "another worker is gone; see why in its output, and start all of them again; with resume=RUN_ID they go on "
            "from the latest checkpoint"
        ) from None
