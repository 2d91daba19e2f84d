"""Who writes the shards: processes of this machine, or an Apache Spark cluster. Both call `write_shard` on each."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from odml.errors import ConfigurationError, OdmlError, RecordError
from odml.shards import Shard, write_shard

ENGINES = ("local", "spark")

# Gives the digests of each shard's examples, in the shards' order.
Engine = Callable[[Sequence[Shard]], Generator[list[str]]]

# A process must import TensorFlow before it can write, in which time another could have written about so many.
_EXAMPLES_WORTH_A_PROCESS = 20_000


def find_engine(name: str, *, workers: int, spark_master: str) -> Engine:
    """Give the engine of a name.

    Args:
        name: one of `ENGINES`.
        workers: processes of the local engine; -1: one a core, but no more than there is work for.
        spark_master: of Spark, such as ``local[2]`` or ``spark://host:7077``.
    Raises:
        ConfigurationError: ``workers`` is 0, or Spark is asked for and pyspark is not installed.
    """
    if workers == 0:
        raise ConfigurationError("workers: 0 can write nothing; give a number of processes, or -1 for one a core")
    if name == "local":
        return partial(write_locally, workers=workers)
    if not importlib.util.find_spec("pyspark"):
        raise ConfigurationError("engine: spark needs pyspark, which is not installed; pip install 'odml[spark]'")
    return partial(write_on_spark, master=spark_master)


def write_locally(shards: Sequence[Shard], *, workers: int = -1) -> Generator[list[str]]:
    """Write shards in so many processes at most; with one it is this process, which encodes in threads.

    Whatever ends the work early, the processes are gone when it does.

    Args:
        workers: -1: one a core, but none that would take longer to start than to do its part.
    Raises:
        RecordError: a process died, for want of memory probably.
    """
    cores = os.cpu_count() or 1
    worth = sum(len(shard.sources) for shard in shards) // _EXAMPLES_WORTH_A_PROCESS
    wanted = min(len(shards), min(cores, worth) if workers < 0 else workers)
    if wanted <= 1:
        yield from (write_shard(shard, threads=cores) for shard in shards)
        return
    # A fork of this process could inherit a lock that one of its threads holds; the server's have no threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([write_shard.__module__])
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(wanted, context, initializer=_ignore_ctrl_c)
    try:
        yield from executor.map(write_shard, shards)
    except BrokenProcessPool as error:
        raise RecordError("a process that wrote records died; give fewer workers if memory is short") from error
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
            process.join()


def _ignore_ctrl_c() -> None:
    """Leave it to the process that has started this one, which ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def write_on_spark(shards: Sequence[Shard], *, master: str) -> Generator[list[str]]:
    """Write shards as the tasks of one Spark job, a shard a task.

    The workers need odml's dependencies; odml itself is sent to them. They must reach the pictures and the shards'
    folder by the same paths as this process.

    Raises:
        ConfigurationError: no session can be had with this master.
        RecordError: the job failed.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    if master.startswith("local"):  # other masters' workers have Pythons of their own
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        session = SparkSession.builder.appName("odml prepare").master(master).getOrCreate()
    except (PySparkException, Py4JError) as error:
        raise ConfigurationError(
            f"spark_master: no session with {master!r} ({_reason(error)}); "
            "check the master, and that a Java which this pyspark supports is installed"
        ) from error
    try:
        with tempfile.TemporaryDirectory(prefix="odml-") as folder:
            package = Path(__file__).parent
            session.sparkContext.addPyFile(shutil.make_archive(f"{folder}/odml", "zip", package.parent, package.name))
            tasks = session.sparkContext.parallelize(shards, max(1, len(shards)))
            outcomes = tasks.map(_attempt).collect()
    except (PySparkException, Py4JError) as error:
        raise RecordError(f"engine: the Spark job failed ({_reason(error)}); Spark's log tells more") from error
    finally:
        session.stop()
    for outcome in outcomes:
        if isinstance(outcome, OdmlError):
            raise outcome
        yield outcome


def _attempt(shard: Shard) -> list[str] | OdmlError:
    """Write a shard; give what the user can fix as a value, since Spark would try four times and hide the message."""
    try:
        return write_shard(shard)
    except OdmlError as error:
        return error


def _reason(error: BaseException) -> str:
    """Give the line that says what is wrong: Python's if Java tells of it, else Java's, which begins with a colon."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    pythons = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    javas = [line.removeprefix(": ") for line in lines if line.startswith(": ")]
    return [*pythons, *javas, *lines][0]
