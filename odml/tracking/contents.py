"""What runs hold: artifacts as local folders and texts, tags, metrics."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from odml.errors import TrackingError
from odml.tracking.folders import local_artifacts
from odml.tracking.inputs import Input, Wanted, find_given
from odml.tracking.names import mlflow_name
from odml.tracking.stores import prepare_client


def everything(name: str) -> bool:
    """Say of any file that it is needed."""
    return True


def local_copy(
    client: MlflowClient, found: Input, until_close: ExitStack, needed: Callable[[str], bool] = everything
) -> Path:
    """Give an artifact as a local folder or file: its own place, or a copy of it that ``until_close`` removes.

    Args:
        needed: says by its name which file or folder in the artifact is; what is not need not be downloaded.
    Raises:
        TrackingError: it cannot be downloaded.
    """
    local = local_place(client, found)
    if local:
        return local
    folder = until_close.enter_context(tempfile.TemporaryDirectory(prefix="odml-"))
    return download(client, found, Path(folder, Path(found.artifact).name), needed)


def local_place(client: MlflowClient, found: Input) -> Path | None:
    """Give the artifact's own place if it is on this machine, else None."""
    assert found.run_id
    local = local_artifacts(client.get_run(found.run_id).info.artifact_uri)
    return local / found.artifact if local else None


def download(client: MlflowClient, found: Input, target: Path, needed: Callable[[str], bool]) -> Path:
    """Download what is needed of an artifact to a path, whose name is the artifact's, and give the path.

    Raises:
        TrackingError: it cannot be downloaded.
    """
    assert found.run_id
    try:
        listed = [each.path for each in client.list_artifacts(found.run_id, found.artifact)]
        chosen = [path for path in listed if needed(Path(path).name)]
        if chosen == listed:  # or a file, of which there is no list
            return Path(client.download_artifacts(found.run_id, found.artifact, str(target.parent)))
        target.mkdir(exist_ok=True)
        for path in chosen:
            client.download_artifacts(found.run_id, path, str(target))
        return target
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"run {found.run_id}: {found.artifact} cannot be downloaded ({error}); try again"
        ) from error


@contextmanager
def input_folder(
    name: str,
    value: str,
    *,
    operations: tuple[str, ...],
    artifact: str,
    needed: Callable[[str], bool] = everything,
) -> Iterator[Path]:
    """Give an input as ``Run.input`` does, in a process that has no run; what is downloaded lasts as long as the block.

    Args:
        value: a run id, a folder or a ``models:/`` URI.
        needed: as for ``Run.input``.
    Raises:
        TrackingError: nothing fits.
    """
    prepare_client()
    client = MlflowClient()
    found = find_given(client, value, Wanted(name, operations, (artifact,)))
    with ExitStack() as until_close:
        yield found.folder or local_copy(client, found, until_close, needed)


def run_tags(run_id: str) -> dict[str, str]:
    """Give a run's tags."""
    return dict(MlflowClient().get_run(run_id).data.tags)


def artifact_uri(run_id: str) -> str:
    """Give the place where a run's artifacts are kept."""
    return MlflowClient().get_run(run_id).info.artifact_uri


def artifact_text(run_id: str, path: str) -> str | None:
    """Give an artifact that is a text, None if the run has none of that name."""
    client = MlflowClient()
    if path not in {each.path for each in client.list_artifacts(run_id, path.rpartition("/")[0] or None)}:
        return None
    with ExitStack() as until_read:
        return local_copy(client, Input(run_id=run_id, artifact=path), until_read).read_text(encoding="utf-8")


def run_metrics(run_id: str) -> dict[str, float]:
    """Give the last value of each of a run's metrics."""
    return dict(MlflowClient().get_run(run_id).data.metrics)


def metrics_at(run_id: str, names: Iterable[str], step: int) -> dict[str, float]:
    """Give those of the metrics, by these names, that the run has at a step; the last value of several."""
    client = MlflowClient()
    found = {}
    for name in names:
        for metric in client.get_metric_history(run_id, mlflow_name(name)):
            if metric.step == step:
                found[name] = metric.value
    return found
