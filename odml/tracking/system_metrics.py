"""What the machine does while a run goes on: CPU, memory, disk, network and GPUs, as MLflow measures them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from odml.tracking.outbox import Outbox

logger = logging.getLogger(__name__)

# It tells of its start and end, and every ten seconds of each figure that a GPU does not have.
logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)


@contextmanager
def sample_system(run_id: str, outbox: Outbox) -> Iterator[None]:
    """Log ``system/...`` metrics every ten seconds inside the block, or as often as MLflow's variables say.

    Steps count the samples, from the last that the run has. MLflow's own thread gives up for good at the first
    request that fails; here the outbox keeps what the store does not take.
    """
    ended = threading.Event()
    sampler = threading.Thread(target=_sample, args=(run_id, outbox, ended), name="system metrics", daemon=True)
    sampler.start()
    try:
        yield
    finally:
        ended.set()
        sampler.join()


def _sample(run_id: str, outbox: Outbox, ended: threading.Event) -> None:
    try:
        monitor = SystemMetricsMonitor(run_id, resume_logging=True)
        monitor.mlflow_logger = SimpleNamespace(record_metrics=outbox.add_metrics)  # type: ignore[assignment]
        while True:
            for _ in range(monitor.samples_before_logging):
                if ended.wait(monitor.sampling_interval):
                    return
                monitor.collect_metrics()
            monitor.publish_metrics(monitor.aggregate_metrics())
    # Machines differ in what they let us measure, and none of it may end the work.
    except Exception as error:
        logger.warning("system metrics: cannot be measured (%s: %s)", type(error).__name__, error)
