"""The process that a run goes on in: tags that name it, and what can be done with it from another terminal."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

from odml.errors import TrackingError

HOST_TAG, PROCESS_TAG = "odml.host", "odml.process"
# Linux reckons a creation time from the clock of the moment, which may have been set since it was recorded.
CLOCK_SECONDS = 2.0


@dataclass(frozen=True)
class Process:
    """A process on some host; the time of its creation tells it from a later one with the same number."""

    host: str
    pid: int
    created: datetime

    @classmethod
    def of_pid(cls, pid: int | None = None) -> Process:
        """Give a process of this host, by default the one that asks."""
        process = psutil.Process(pid)
        return cls(socket.gethostname(), process.pid, datetime.fromtimestamp(process.create_time(), UTC))

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Process | None:
        """Give the process that a run's tags name, None if they name none."""
        if HOST_TAG not in tags or PROCESS_TAG not in tags:
            return None
        pid, created = tags[PROCESS_TAG].split()
        return cls(tags[HOST_TAG], int(pid), datetime.fromisoformat(created))

    def to_tags(self) -> dict[str, str]:
        """Give the tags that name it."""
        return {HOST_TAG: self.host, PROCESS_TAG: f"{self.pid} {self.created.isoformat(timespec='milliseconds')}"}

    @property
    def is_here(self) -> bool:
        """Whether this is the host that it is on."""
        return self.host == socket.gethostname()

    def is_alive(self) -> bool:
        """Say whether it goes on; ask it on its own host only."""
        return self._find() is not None

    def terminate(self) -> bool:
        """Send it SIGTERM; False if there is no such process any more.

        Raises:
            TrackingError: it is another user's.
        """
        process = self._find()
        if process is None:
            return False
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied as error:
            raise TrackingError(f"process {self.pid}: belongs to another user; stop it as that user") from error
        return True

    def _find(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            is_it = abs(process.create_time() - self.created.timestamp()) < CLOCK_SECONDS
            # Of a zombie only its number is left, until its parent asks how it ended.
            return process if is_it and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None
