"""A folder of a run's artifacts that grows while the run goes on: checkpoints, TensorBoard events."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from odml.errors import TrackingError

logger = logging.getLogger(__name__)

# It names the newest step of a folder of checkpoints: readers must find that step's files already there.
LAST_TO_UPLOAD = "checkpoint"


def local_artifacts(artifact_uri: str) -> Path | None:
    """Give the folder behind a run's artifact URI, or None if the artifacts are kept by a server or in a cloud."""
    parsed = urlparse(artifact_uri)
    if parsed.scheme == "file":
        return Path(url2pathname(parsed.path))
    return None if parsed.scheme else Path(artifact_uri)


class ArtifactFolder:
    """A folder to write into at ``path``, which ``publish`` brings to the run's artifacts.

    With a local artifact store ``path`` is the run's own artifact folder: others see each file as it is written,
    and publishing does nothing. Otherwise ``path`` is a temporary folder, and ``publish`` uploads what is new or
    changed since the last time (the file ``checkpoint`` last) and then deletes what is gone, where the store can. What
    a resumed run has there already is downloaded first.
    """

    def __init__(self, client: MlflowClient, run: Run, name: str) -> None:
        self._client = client
        self._run_id = run.info.run_id
        self._artifact_uri = run.info.artifact_uri
        self._published: dict[Path, tuple[int, int]] = {}
        self._warned = False
        self.name = name
        local = local_artifacts(self._artifact_uri)
        self.is_local = local is not None
        self.path = local / name if local else Path(tempfile.mkdtemp(prefix=f"odml-{name}-"), name)
        self.path.mkdir(parents=True, exist_ok=True)
        if not local and client.list_artifacts(self._run_id, name):
            client.download_artifacts(self._run_id, name, str(self.path.parent))
            self._published = self._present()

    def publish(self) -> None:
        """Bring the run's artifacts up to date; a store that fails is warned about once and tried again next time."""
        try:
            self._upload()
        # Every artifact repository raises exceptions of its own, and none may end the work.
        except Exception as error:
            if not self._warned:
                logger.warning("%s/: cannot be uploaded yet (%s); the files stay in %s", self.name, error, self.path)
            self._warned = True

    def close(self) -> None:
        """Publish for the last time and remove the temporary folder.

        Raises:
            TrackingError: the upload failed; the message says where the files are.
        """
        if self.is_local:
            return
        try:
            self._upload()
        except Exception as error:
            where = f"run {self._run_id}: {self.name}/"
            raise TrackingError(f"{where} was not uploaded ({error}); its files are in {self.path}") from error
        shutil.rmtree(self.path.parent)

    def _upload(self) -> None:
        if self.is_local:
            return
        present = self._present()
        for path in sorted(present, key=lambda path: (path.name == LAST_TO_UPLOAD, path)):
            if self._published.get(path) != present[path]:
                folder = (Path(self.name) / path.parent).as_posix()
                self._client.log_artifact(self._run_id, str(self.path / path), folder)
                self._published[path] = present[path]
        self._delete(sorted(set(self._published) - set(present)))

    def _present(self) -> dict[Path, tuple[int, int]]:
        return {path.relative_to(self.path): _version(path) for path in self.path.rglob("*") if path.is_file()}

    def _delete(self, gone: list[Path]) -> None:
        repository = get_artifact_repository(self._artifact_uri)
        for path in gone:
            try:
                repository.delete_artifacts((Path(self.name) / path).as_posix())
            except NotImplementedError:
                logger.debug("%s: cannot be deleted from this artifact store", path)
            del self._published[path]


def _version(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns
