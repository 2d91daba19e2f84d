"""What a run wants to tell the tracking store, kept until the store has taken it.

A store that is down must not end a training run: what it does not take is kept, in order, and tried again later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

from odml.errors import TrackingError, first_line
from odml.tracking.names import mlflow_name

logger = logging.getLogger(__name__)

# A call to a server that is down takes seconds: the next one waits this long, so that the work goes on meanwhile.
RETRY_SECONDS = 30.0
# The most that MLflow takes in one request.
METRICS_PER_REQUEST = 1000


class Outbox:
    """The metrics, tags and small artifacts of one run, sent at once while the store answers.

    After a failure it warns once, keeps everything, and tries again with the first call that comes 30 seconds
    later. ``flush`` sends what is left. Several threads may use it.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client = client
        self._run_id = run_id
        self._metrics: list[Metric] = []
        self._tags: dict[str, str] = {}
        self._artifacts: list[tuple[str, Callable[[], object]]] = []
        self._retry_at = 0.0
        self._warned = False
        # A signal handler may interrupt a call with one of its own.
        self._lock = threading.RLock()

    def add_metrics(self, metrics: Mapping[str, float | None], step: int | None) -> None:
        """Send metrics in one request; values of None are left out."""
        now = int(time.time() * 1000)
        added = [
            Metric(mlflow_name(name), float(value), now, step or 0)
            for name, value in metrics.items()
            if value is not None
        ]
        with self._lock:
            self._metrics += added
            self._try_to_send()

    def add_tag(self, name: str, value: str) -> None:
        """Set a tag of the run."""
        with self._lock:
            self._tags[name] = value
            self._try_to_send()

    def add_artifact(self, name: str, send: Callable[[], object]) -> None:
        """Call ``send``, which stores the artifact ``name``; again later where it raises."""
        with self._lock:
            self._artifacts.append((name, send))
            self._try_to_send()

    def flush(self) -> None:
        """Send what is left.

        Raises:
            TrackingError: the store still does not take it.
        """
        try:
            with self._lock:
                self._send()
        except Exception as error:
            left = f"{len(self._metrics)} metrics, {len(self._tags)} tags and {len(self._artifacts)} artifacts"
            raise TrackingError(f"run {self._run_id}: {left} were not stored ({first_line(error)})") from error

    def _try_to_send(self) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            self._send()
        # Every store and every artifact repository raises exceptions of its own, and none may end the work.
        except Exception as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            if not self._warned:
                logger.warning("tracking store: %s; the work goes on, logging is tried again later", first_line(error))
            self._warned = True

    def _send(self) -> None:
        while self._metrics or self._tags:
            metrics, tags = self._metrics[:METRICS_PER_REQUEST], dict(self._tags)
            run_tags = [RunTag(name, value) for name, value in tags.items()]
            self._client.log_batch(self._run_id, metrics=metrics, tags=run_tags, synchronous=True)
            del self._metrics[: len(metrics)]
            self._tags.clear()
        while self._artifacts:
            self._artifacts[0][1]()
            del self._artifacts[0]
