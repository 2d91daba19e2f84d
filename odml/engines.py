"""Who does the work on many photos: processes of this machine, or an Apache Spark cluster."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from odml.errors import ConfigurationError, OdmlError, RecordError

if TYPE_CHECKING:
    from pyspark import Broadcast, SparkContext

ENGINES = ("local", "spark")

_TASKS_OF_A_CORE = 8  # that a Spark job has: what they get and give is in the driver's memory at a time
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class Engine(Protocol):
    """Who does the work."""

    def __call__(self, function: Callable[..., _Result], tasks: Iterable[_Task], *, worth: int) -> Generator[_Result]:
        """Yield what ``function(task, threads=...)`` gives for each task, in the tasks' order.

        Tasks are taken a few ahead of the results, so that memory holds a few of both. The function, which may be a
        `functools.partial` with what all tasks need, goes to each process once. ``worth`` is how many processes there
        is work for: more would take longer to start than to do their part.
        """
        ...


def find_engine(name: str, *, workers: int, spark_master: str) -> AbstractContextManager[Engine]:
    """Give the engine of a name, for a ``with`` block at whose end nothing is left of it.

    Args:
        name: one of `ENGINES`.
        workers: processes of the local engine at most; -1: one a core.
        spark_master: of Spark, such as ``local[2]`` or ``spark://host:7077``.
    Raises:
        ConfigurationError: ``workers`` is 0, or Spark is asked for and pyspark is not installed; on entering the
            block: no session can be had with this master.
    """
    if workers == 0:
        raise ConfigurationError("workers: 0 can do nothing; give a number of processes, or -1 for one a core")
    if name == "local":
        return nullcontext(partial(work_locally, workers=workers))
    if not importlib.util.find_spec("pyspark"):
        raise ConfigurationError("engine: spark needs pyspark, which is not installed; pip install 'odml[spark]'")
    return spark_engine(spark_master)


def work_locally(
    function: Callable[..., _Result], tasks: Iterable[_Task], *, worth: int, workers: int = -1
) -> Generator[_Result]:
    """Work in so many processes at most; where only one is worth it this one does it, in so many threads.

    Whatever ends the work early, the processes are gone when it does. Each has a pipe of its own, so that one that
    dies or is killed while it sends leaves nothing that another waits for; `concurrent.futures` has one for all.

    Args:
        workers: -1: one a core.
    Raises:
        ConfigurationError: a process died, for want of memory probably.
    """
    workers = (os.cpu_count() or 1) if workers < 0 else workers
    processes = min(workers, worth)
    if processes <= 1:
        yield from (function(task, threads=workers) for task in tasks)
        return
    remaining = enumerate(tasks)
    busy: dict[Connection, int] = {}
    done: dict[int, tuple[_Result, Exception | None]] = {}
    with _processes(processes, function) as idle:
        number = 0
        while True:
            for ahead, task in islice(remaining, min(len(idle), 2 * processes - len(busy) - len(done))):
                busy[_sent(task, idle.pop())] = ahead
            if number in done:
                result, error = done.pop(number)
                if error:
                    raise error
                yield result
                number += 1
            elif busy:
                ready = wait(list(busy))
                for connection in [each for each in busy if each in ready]:
                    done[busy.pop(connection)] = _received(connection)
                    idle.append(connection)
            else:
                return


@contextmanager
def _processes(number: int, function: Callable[..., Any]) -> Iterator[list[Connection]]:
    """Start processes that do tasks; give this one's end of the pipe to each."""
    context = multiprocessing.get_context("spawn")  # a fork could inherit a lock that one of the threads here holds
    with ExitStack() as stack:
        connections = []
        for _ in range(number):
            here, there = context.Pipe()
            connections.append(stack.enter_context(here))
            with there, _none_died():
                process = context.Process(target=_do_tasks, args=(there, function), daemon=True)
                process.start()
            stack.callback(process.join)
            stack.callback(process.kill)
        yield connections


def _do_tasks(connection: Connection, function: Callable[..., Any]) -> None:
    """Do, in a process of its own, the tasks that come until the process that sends them is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that has started this one, and ends it
    with suppress(EOFError, ConnectionError):
        while True:
            task = connection.recv()
            outcome: tuple[Any, Exception | None]
            try:
                outcome = function(task, threads=1), None
            except Exception as error:
                error.add_note(traceback.format_exc())  # a traceback does not go through a pipe
                outcome = None, error
            connection.send(outcome)


def _sent(task: Any, connection: Connection) -> Connection:
    with _none_died():
        connection.send(task)
    return connection


def _received(connection: Connection) -> Any:
    with _none_died():
        return connection.recv()


@contextmanager
def _none_died() -> Iterator[None]:
    try:
        yield
    except (EOFError, ConnectionError) as error:
        raise ConfigurationError("workers: one of the processes died; give fewer if memory is short") from error


@contextmanager
def spark_engine(master: str) -> Iterator[Engine]:
    """Work as the tasks of Spark jobs.

    The workers need odml's dependencies; odml itself is sent to them. They must reach the pictures and the folder of
    the records by the same paths as this process.

    Raises:
        ConfigurationError: no session can be had with this master; while it works, RecordError: a job failed.
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
            yield partial(_work_on_spark, session.sparkContext)
    finally:
        session.stop()


def _work_on_spark(
    context: SparkContext, function: Callable[..., _Result], tasks: Iterable[_Task], *, worth: int
) -> Generator[_Result]:
    """Run job after job, so that the driver never has more than some tasks and their results."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    shared = context.broadcast(function)
    remaining = iter(tasks)
    while some := list(islice(remaining, _TASKS_OF_A_CORE * context.defaultParallelism)):
        try:
            outcomes = context.parallelize(some, len(some)).map(partial(_attempt, shared)).collect()
        except (PySparkException, Py4JError) as error:
            raise RecordError(f"engine: the Spark job failed ({_reason(error)}); Spark's log tells more") from error
        for outcome in outcomes:
            if isinstance(outcome, OdmlError):
                raise outcome
            yield outcome


def _attempt(function: Broadcast[Callable[..., _Result]], task: _Task) -> _Result | OdmlError:
    """Do a task; give what the user can fix as a value, since Spark would try four times and hide the message."""
    try:
        return function.value(task, threads=1)
    except OdmlError as error:
        return error


def _reason(error: BaseException) -> str:
    """Give the line that says what is wrong: Python's if Java tells of it, else Java's, which begins with a colon."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    pythons = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    javas = [line.removeprefix(": ") for line in lines if line.startswith(": ")]
    return [*pythons, *javas, *lines][0]
