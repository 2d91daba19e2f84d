"""The TensorBoard events of many runs in one folder, kept up to date while the runs go on."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import FileInfo, Run, RunStatus

from odml.errors import TrackingError, first_line
from odml.tracking.folders import local_artifacts
from odml.tracking.inputs import runs_of
from odml.tracking.stores import active_experiment

ARTIFACT = "tensorboard"
_NOT_IN_NAMES = re.compile(r"[^\w .,()+=@-]")
LONGEST_NAME = 100


class EventFolders:
    """A folder for TensorBoard to read: in it, a folder for each run that has events, named for people.

    A name is the run's, and the beginning of its id. With a local artifact store each is a link to the run's own
    folder; otherwise a copy, to which ``refresh`` adds what the run has published since.

    Args:
        path: an empty folder; what is in it from now on belongs to this object.
        operations: whose runs.
    Raises:
        TrackingError: the tracking store does not answer, or does not have the active experiment.
    """

    def __init__(self, path: Path, operations: tuple[str, ...]) -> None:
        self.experiment = active_experiment()
        self._client = MlflowClient()
        self._path = path
        self._operations = operations
        # Ended runs, by the time of the end: one that is resumed has events again.
        self._complete: set[tuple[str, int]] = set()

    def refresh(self) -> list[str]:
        """Add new runs and new events, remove deleted runs, and give the names of those that are there.

        Raises:
            TrackingError: a store does not answer; what was there before is still there.
        """
        try:
            runs = runs_of(self._client, self.experiment.experiment_id, self._operations, {})
            named = {_name(run): run for run in runs}
            for name, run in named.items():
                self._update(name, run)
        # Every store and every artifact repository raises exceptions of its own.
        except Exception as error:
            raise TrackingError(
                f"events of experiment {self.experiment.name}: cannot be read ({first_line(error)})"
            ) from error
        for path in self._path.iterdir():
            if path.name not in named:
                _remove(path)
        return sorted(path.name for path in self._path.iterdir())

    def _update(self, name: str, run: Run) -> None:
        local = local_artifacts(run.info.artifact_uri)
        target = self._path / name
        if local is None:
            self._download(run, target)
        elif (local / ARTIFACT).is_dir() and not target.is_symlink():
            target.symlink_to((local / ARTIFACT).resolve(), target_is_directory=True)

    def _download(self, run: Run, target: Path) -> None:
        ended = RunStatus.is_terminated(RunStatus.from_string(run.info.status))
        if ended and (target.name, run.info.end_time) in self._complete:
            return
        for info in self._files(run.info.run_id, ARTIFACT):
            self._append(run.info.run_id, info, target / Path(info.path).relative_to(ARTIFACT))
        if ended:
            self._complete.add((target.name, run.info.end_time))

    def _files(self, run_id: str, folder: str) -> Iterator[FileInfo]:
        for info in self._client.list_artifacts(run_id, folder):
            if info.is_dir:
                yield from self._files(run_id, info.path)
            else:
                yield info

    def _append(self, run_id: str, info: FileInfo, target: Path) -> None:
        """Add to a copy what it lacks: event files only grow, and TensorBoard does not reopen one that was replaced."""
        had = target.stat().st_size if target.exists() else 0
        if info.file_size is not None and info.file_size <= had:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="odml-") as folder:
            fetched = Path(self._client.download_artifacts(run_id, info.path, folder))
            with fetched.open("rb") as source, target.open("ab") as copy:
                source.seek(had)
                shutil.copyfileobj(source, copy)


def _name(run: Run) -> str:
    """Give a run's folder name; a run's name may be anything, for instance a path."""
    return f"{_NOT_IN_NAMES.sub('_', run.info.run_name or '')[:LONGEST_NAME]} {run.info.run_id[:8]}".strip()


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)
