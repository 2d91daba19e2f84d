"""Folders that get all of their new files, or none of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import tensorflow as tf

from odml.records import (
    DATASET_FILE,
    file_errors,
    is_uri,
)


def names_in(folder: Path | str) -> list[str]:
    """Give the names of what is in a folder, a path or a URI; [] if it is not there."""
    with file_errors(folder):
        return tf.io.gfile.listdir(str(folder)) if tf.io.gfile.isdir(str(folder)) else []


def all_or_nothing(folder: Path | str) -> AbstractContextManager[Path | str]:
    """Give a folder to write in, so that what is written is in ``folder`` at the end, or nowhere if anything is raised.

    Where moving is copying, in the file systems of URIs, it is the folder itself.
    """
    return _removed_on_error(str(folder)) if is_uri(folder) else _moved_at_the_end(Path(folder))


@contextmanager
def _removed_on_error(folder: str) -> Iterator[str]:
    with file_errors(folder):
        tf.io.gfile.makedirs(folder)
    before = set(names_in(folder))
    try:
        yield folder
    except BaseException:
        for name in set(names_in(folder)) - before:
            tf.io.gfile.remove(f"{folder}/{name}")
        raise


@contextmanager
def _moved_at_the_end(folder: Path) -> Iterator[Path]:
    made = not folder.exists()
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield part
        _move_files(part, folder)
    except BaseException:
        if made:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move_files(part: Path, folder: Path) -> None:
    """Move all files, dataset.yml last, because a folder without it is no data set."""
    folder.mkdir(exist_ok=True)
    moved: list[Path] = []
    try:
        for path in sorted(part.iterdir(), key=lambda path: (path.name == DATASET_FILE, path.name)):
            moved.append(path.rename(folder / path.name))
    except BaseException:
        for path in moved:
            path.unlink()
        raise
