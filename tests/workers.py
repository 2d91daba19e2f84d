"""What processes that the tests start are given to do; without TensorFlow here, as they have to import it."""

from __future__ import annotations

import importlib
import os
import sys
import time


def die(task: int, *, threads: int) -> None:
    """End the process as the kernel does when memory runs out: at once."""
    os._exit(1)


def modules_beside(name: str, *, threads: int) -> list[str]:
    """Import a module, and give which of the slow ones the process has then."""
    importlib.import_module(name)
    return sorted({"tensorflow", "matplotlib", "mlflow"} & sys.modules.keys())


def give_much(seconds: float, *, threads: int) -> bytes:
    """Give, after some seconds, more than a pipe holds."""
    time.sleep(seconds)
    return bytes(2_000_000)
