"""What processes that the tests start are given to do; without TensorFlow here, as they have to import it."""

from __future__ import annotations

import importlib
import os
import sys
import time

from odml.engines import work_locally


def die(seconds: float, *, threads: int) -> None:
    """End the process, after some seconds, as the kernel does when memory runs out: at once."""
    time.sleep(seconds)
    os._exit(1)


def wait_for(seconds: float, *, threads: int) -> float:
    """Give the seconds when they are over."""
    time.sleep(seconds)
    return seconds


def modules_beside(name: str, *, threads: int) -> list[str]:
    """Import a module, and give which of the slow ones the process has then."""
    importlib.import_module(name)
    return sorted({"tensorflow", "matplotlib", "mlflow"} & sys.modules.keys())


def give_much(seconds: float, *, threads: int) -> bytes:
    """Give, after some seconds, more than a pipe holds."""
    time.sleep(seconds)
    return bytes(2_000_000)


if __name__ == "__main__":
    for _ in work_locally(wait_for, [0.0, 0.0], worth=2, workers=2):
        os.write(sys.stdout.fileno(), b"they work\n")
        time.sleep(600)
