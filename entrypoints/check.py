"""Say whether this machine has what odml needs."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from importlib.metadata import version

import click

from entrypoints.command import Command
from odml.errors import first_line


@click.command(cls=Command)
def check() -> None:
    """Show versions, GPUs, stores and weights, one line each; exit with 1 if something needed is missing."""
    checks = {
        "python": platform.python_version,
        "odml": _odml,
        "tensorflow": _tensorflow,
        "mlflow": lambda: version("mlflow"),
        "GPUs": _gpus,
        "tracking store": _tracking_store,
        "model registry": _model_registry,
        "COCO weights": lambda: _weights("coco"),
        "ImageNet weights": lambda: _weights("imagenet"),
    }
    missing = [name for name, look in checks.items() if not _report(name, look)]
    if missing:
        sys.exit(1)


def _report(name: str, look: Callable[[], str]) -> bool:
    """Print a check's line; anything it raises is what is missing."""
    try:
        click.echo(f"{name:<18}{look()}")
    except Exception as error:
        click.echo(f"{name:<18}MISSING: {first_line(error)}")
        return False
    return True


def _odml() -> str:
    from odml import __version__

    return __version__


def _tensorflow() -> str:
    import tensorflow as tf

    return tf.__version__


def _gpus() -> str:
    import tensorflow as tf

    from odml.gpus import visible_gpus

    gpus = visible_gpus()
    if not gpus:
        return "none; TensorFlow uses the CPU"
    usable = len(tf.config.list_physical_devices("GPU"))
    note = "" if usable else "; TensorFlow sees none of them: pip install 'tensorflow[and-cuda]'"
    return ", ".join(f"{gpu.index}: {gpu.name} {gpu.memory_total / 2**30:.0f} GiB" for gpu in gpus) + note


def _tracking_store() -> str:
    from odml import tracking

    return tracking.open_store()


def _model_registry() -> str:
    from odml import tracking

    return tracking.open_registry()


def _weights(kind: str) -> str:
    from odml.initial_weights import cached

    paths = cached()[kind]
    there = [path.name for path in paths if path.is_file()]
    # Their absence is no failure: transfer_learn downloads them, and train needs none.
    missing = [path.name for path in paths if not path.is_file()]
    found = f"{', '.join(there)} in {paths[0].parent}" if there else f"none yet in {paths[0].parent}"
    note = f"; transfer_learn downloads what it needs there, or put it there: {', '.join(missing)}" if missing else ""
    return found + note


if __name__ == "__main__":
    check()
