"""A remote artifact store for tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import FileInfo
from mlflow.store.artifact import artifact_repository_registry
from mlflow.store.artifact.artifact_repo import ArtifactRepository


class FakeCloud(ArtifactRepository):
    """A remote artifact store, ``cloud:/PATH``: a folder that is only reached by uploads and downloads."""

    is_down = False
    can_delete = True
    # Shared by all instances, as a cloud is.
    uploads: list[str] = []  # noqa: RUF012
    downloads: list[str] = []  # noqa: RUF012

    @property
    def root(self) -> Path:
        return Path(self.artifact_uri.removeprefix("cloud:"))

    def log_artifact(self, local_file, artifact_path=None):
        if self.is_down:
            raise ConnectionError("cloud is down")
        folder = self.root / (artifact_path or "")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(local_file, folder)
        self.uploads.append((folder / Path(local_file).name).relative_to(self.root).as_posix())

    def log_artifacts(self, local_dir, artifact_path=None):
        for path in Path(local_dir).iterdir():
            self.log_artifact(path, artifact_path)

    def list_artifacts(self, path=None):
        folder = self.root / (path or "")
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        return [FileInfo(each.relative_to(self.root).as_posix(), each.is_dir(), each.stat().st_size) for each in found]

    def _download_file(self, remote_file_path, local_path):
        if self.is_down:
            raise ConnectionError("cloud is down")
        self.downloads.append(remote_file_path)
        shutil.copy(self.root / remote_file_path, local_path)

    def delete_artifacts(self, artifact_path=None):
        if not self.can_delete:
            raise NotImplementedError
        (self.root / artifact_path).unlink()


@pytest.fixture
def cloud(tracking_store, monkeypatch) -> type[FakeCloud]:
    """The tracking store, with an experiment whose artifacts are in the cloud."""
    monkeypatch.setattr(FakeCloud, "is_down", False)
    monkeypatch.setattr(FakeCloud, "uploads", [])
    monkeypatch.setattr(FakeCloud, "downloads", [])
    registry = artifact_repository_registry._artifact_repository_registry
    monkeypatch.setitem(registry._registry, "cloud", FakeCloud)
    mlflow.MlflowClient().create_experiment("remote", f"cloud:{tracking_store}/cloud")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "remote")
    return FakeCloud
