"""One operation is one MLflow run: its status, its inputs, its metrics, pictures and artifacts."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import mlflow.entities
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]
from mlflow.entities import DatasetInput, InputTag, Param
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_RUN_NAME
from PIL import Image

from odml import __version__
from odml.errors import OdmlError, TrackingError
from odml.tracking.contents import download, everything, local_copy, local_place, run_tags
from odml.tracking.folders import ArtifactFolder
from odml.tracking.inputs import Input, Wanted, find_input, runs_of
from odml.tracking.names import mlflow_name
from odml.tracking.outbox import Outbox
from odml.tracking.processes import Process
from odml.tracking.resuming import last_steps, resume_run
from odml.tracking.stores import prepare_client, shown, unreachable
from odml.tracking.system_metrics import sample_system

logger = logging.getLogger(__name__)

# The most that MLflow takes in one request, and in a dataset's digest.
PARAMS_PER_REQUEST = 100
DIGEST_LENGTH = 36
# Such as "bald-trout-747": mlflow.utils.name_utils.
_NAMED_BY_CHANCE = re.compile(r"[a-z]+-[a-z]+-\d+")


@contextmanager
def start_run(
    operation: str, *, model: str | None = None, resume: str = "", system_metrics: bool = False
) -> Iterator[Run]:
    """Give the MLflow run of an operation: the one that ``mlflow run`` has made, else a new one; or one to go on in.

    The run is tagged ``odml.operation``, ``odml.model`` and ``odml.version``, and with where it goes on:
    ``odml.host`` and ``odml.process``, its number and time of creation. It ends FINISHED; KILLED if a
    KeyboardInterrupt leaves the block; FAILED, with the tag ``odml.error``, if another exception does.

    Args:
        model: what the operation works with, for its tag and its name.
        resume: the id of a run of the same operation that has ended or was killed: it goes on, and of its metrics only
            the steps that it does not have yet are logged.
        system_metrics: whether what the machine does meanwhile is logged too, as MLflow's ``system/...`` metrics.

    Raises:
        TrackingError: the tracking store does not answer, there is no such run to resume, the experiment's artifacts
            cannot be written from here, or, at the end, something could not be stored.
    """
    prepare_client()
    run = Run(resume_run(resume, operation)) if resume else _start(operation, model)
    try:
        _require_artifact_store(run)
        run.log_process()
        if system_metrics:
            run.log_system_metrics()
        yield run
        run.close()
    except KeyboardInterrupt:
        _end_early(run, "KILLED")
        raise
    except BaseException as error:
        run.tag("odml.error", _summary(error))
        _end_early(run, "FAILED")
        raise
    mlflow.end_run("FINISHED")


def given_run(operation: str) -> AbstractContextManager[Run | None]:
    """Give the run that ``mlflow run`` has made, as ``start_run`` does, or None: for what leaves nothing to keep."""
    return start_run(operation) if os.environ.get("MLFLOW_RUN_ID") else nullcontext()


class Run:
    """The run of an operation that is going on.

    Metrics, tags, pictures, texts and tables never stop the work: what the store does not take is kept and sent
    later, and only an end without it is an error. ``log_artifact`` and ``log_artifacts`` raise TrackingError.
    """

    def __init__(self, run: mlflow.entities.Run, *, named_for: str = "") -> None:
        """Take over a run that MLflow has started; ``named_for`` is its operation, "" if the user has named it."""
        self.id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self._run = run
        self._named_for = named_for
        self._client = MlflowClient()
        self._outbox = Outbox(self._client, self.id)
        self._folders: list[ArtifactFolder] = []
        self._inputs: dict[str, tuple[Input, Path]] = {}
        self._last_steps = last_steps(run)
        self._until_close = ExitStack()

    @property
    def artifact_uri(self) -> str:
        """Where the run's artifacts are kept."""
        return self._run.info.artifact_uri

    @property
    def tags(self) -> dict[str, str]:
        """The tags that the run began with; a resumed one has those of its first beginning."""
        return dict(self._run.data.tags)

    def last_step(self, metric: str) -> int:
        """Give the last step that a resumed run already has of a metric, -1 if none."""
        return self._last_steps.get(mlflow_name(metric), -1)

    def tag(self, name: str, value: object) -> None:
        """Set a tag of the run, as text."""
        self._outbox.add_tag(name, str(value))

    def tag_model(self, model: str) -> None:
        """Tag the run with the model that it works with, now known, and name it for that unless the user named it."""
        self.tag("odml.model", model)
        if self._named_for:
            self.tag(MLFLOW_RUN_NAME, _run_name(self._named_for, model))

    def log_metrics(self, metrics: Mapping[str, float | None], step: int | None = None) -> None:
        """Log metrics in one request; None is left out, and names are spelled in MLflow's alphabet.

        What a resumed run has already, up to its last step, is left out too.
        """
        new = metrics if step is None else {name: metrics[name] for name in metrics if step > self.last_step(name)}
        self._outbox.add_metrics(new, step)

    def log_process(self) -> None:
        """Tag the run with the process that it goes on in, this one."""
        for name, value in Process.of_pid().to_tags().items():
            self.tag(name, value)

    def log_system_metrics(self) -> None:
        """Log what the machine does from now on until the run ends."""
        self._until_close.enter_context(sample_system(self.id, self._outbox))

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log nested settings as flat parameters that begin with ``cfg.``.

        The prefix keeps them apart from the parameters that ``mlflow run`` logs itself and that cannot change.
        """
        flat = [Param(mlflow_name(f"cfg.{name}"), str(value)) for name, value in _flatten(parameters)]
        for start in range(0, len(flat), PARAMS_PER_REQUEST):
            send = partial(self._client.log_batch, params=flat[start : start + PARAMS_PER_REQUEST], synchronous=True)
            self._outbox.add_artifact("parameters", partial(send, self.id))

    def log_text(self, text: str, name: str) -> None:
        """Store a text as an artifact, for instance ``evaluation/summary.txt``."""
        self._outbox.add_artifact(name, lambda: self._client.log_text(self.id, text, name))

    def log_table(self, table: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]], name: str) -> None:
        """Store a table, as columns or as rows, where MLflow's table view finds it; ``name`` ends in ``.json``.

        A table that the run already has grows by these rows.
        """
        # Of pandas' own text type MLflow's code makes a warning.
        frame = pd.DataFrame(table, dtype=object)
        self._outbox.add_artifact(name, lambda: self._client.log_table(self.id, frame, name))

    def log_image(self, image: np.ndarray | Image.Image, key: str, step: int) -> None:
        """Store an image of a series: the UI shows one slider over the steps for each key (letters, digits, _-./)."""
        self._outbox.add_artifact(
            key, lambda: self._client.log_image(self.id, image, key=key, step=step, synchronous=True)
        )

    def log_picture(self, picture: Image.Image, name: str) -> None:
        """Store one picture as an artifact, for instance ``samples.png``."""
        self._outbox.add_artifact(name, lambda: self._client.log_image(self.id, picture, name, synchronous=True))

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Store a file in a folder of the run's artifacts."""
        with _storing(self.id, path.name):
            self._client.log_artifact(self.id, str(path), folder or None)

    def log_artifacts(self, path: Path, folder: str = "") -> None:
        """Store all that is in ``path`` in a folder of the run's artifacts."""
        with _storing(self.id, folder or path.name):
            self._client.log_artifacts(self.id, str(path), folder or None)

    def log_dataset(self, name: str, *, digest: str, source: Path, context: str) -> None:
        """Record that the run used a data set, so that runs on the same one can be found by name and digest.

        Args:
            name: how people call it.
            digest: of its content; the first 36 characters are kept.
            source: the folder of its records.
            context: "training", "validation", or another word for what it was used for.
        """
        place = LocalArtifactDatasetSource(str(source.resolve()))
        dataset = MetaDataset(place, name=name, digest=digest[:DIGEST_LENGTH])  # type: ignore[abstract]
        used = DatasetInput(dataset._to_mlflow_entity(), [InputTag(MLFLOW_DATASET_CONTEXT, context)])
        self._outbox.add_artifact(f"dataset {name}", lambda: self._client.log_inputs(self.id, [used]))

    def input(
        self,
        name: str,
        value: str,
        *,
        operations: tuple[str, ...],
        artifact: str | tuple[str, ...],
        needed: Callable[[str], bool] = everything,
    ) -> Path:
        """Find what the operation builds on, link this run to it, and give it as a local folder.

        The tag ``odml.input.NAME`` says which run it comes from, or which folder; for a ``models:/`` URI the tag
        ``odml.input.NAME.model`` keeps the URI too.

        Args:
            name: the parameter, for instance "dataset".
            value: ``""`` for the latest run of the operations in this experiment, whatever its status; or a run id,
                a folder, a ``models:/`` URI.
            operations: the operations that make such an input, the one to recommend first.
            artifact: the artifact folder of such a run, for instance "dataset"; of several the first that it has.
            needed: says by its name which file or folder in that folder is; what is not need not be downloaded.

        Returns:
            The folder. With a local artifact store it is the run's own, without a copy; otherwise it is downloaded,
            and removed when this run ends.

        Raises:
            TrackingError: nothing fits.
        """
        artifacts = (artifact,) if isinstance(artifact, str) else artifact
        found = find_input(self._client, self._run, value, Wanted(name, operations, artifacts))
        if found.model_uri:
            self.tag(f"odml.input.{name}.model", found.model_uri)
        if found.folder:
            self.tag(f"odml.input.{name}", found.folder)
            return found.folder
        assert found.run_id
        self.tag(f"odml.input.{name}", found.run_id)
        folder = local_copy(self._client, found, self._until_close, needed)
        self._inputs[name] = found, folder
        return folder

    def download(self, name: str, *, needed: Callable[[str], bool]) -> None:
        """Download more of an input, into the folder that ``input`` has given; nothing where that is no copy.

        Raises:
            TrackingError: it cannot be downloaded.
        """
        if name in self._inputs:
            found, folder = self._inputs[name]
            if not local_place(self._client, found):
                download(self._client, found, folder, needed)

    def input_run(self, name: str) -> str | None:
        """Give the id of the run that an input comes from, None if it is a folder."""
        return self._inputs[name][0].run_id if name in self._inputs else None

    def input_tags(self, name: str) -> dict[str, str]:
        """Give the tags of the run that an input comes from, none if it is a folder."""
        run_id = self.input_run(name)
        return run_tags(run_id) if run_id else {}

    def latest(self, *operations: str, tags: Mapping[str, str]) -> str | None:
        """Give the id of the newest run of the operations in this experiment that has all the tags, None if none."""
        found = next(runs_of(self._client, self.experiment_id, operations, tags), None)
        return found.info.run_id if found else None

    def artifact_folder(self, name: str) -> ArtifactFolder:
        """Give a folder of the run's artifacts to write into while the run goes on."""
        self._folders.append(ArtifactFolder(self._client, self._run, name))
        return self._folders[-1]

    def close(self) -> None:
        """Measure no more, send and upload what is left, and remove downloads; ``start_run`` calls it.

        Raises:
            TrackingError: something could not be stored; files that could not are kept.
        """
        self._until_close.close()
        failures = []
        for finish in [self._outbox.flush, *(folder.close for folder in self._folders)]:
            try:
                finish()
            except TrackingError as error:
                failures.append(str(error))
        self._folders.clear()
        if failures:
            raise TrackingError("; ".join(failures))


def _start(operation: str, model: str | None) -> Run:
    tags = {"odml.operation": operation, "odml.version": __version__} | ({"odml.model": model} if model else {})
    name = _run_name(operation, model)
    try:
        if not os.environ.get("MLFLOW_RUN_ID"):
            return Run(mlflow.start_run(run_name=name, tags=tags), named_for=operation)
        run = mlflow.start_run(tags=tags)
        # `mlflow run` has named the run that it made: by the user's --run-name, or by chance.
        if not _NAMED_BY_CHANCE.fullmatch(run.info.run_name or ""):
            return Run(run)
        mlflow.set_tag(MLFLOW_RUN_NAME, name)
        return Run(run, named_for=operation)
    except MlflowException as error:
        raise unreachable("tracking store", mlflow.get_tracking_uri(), error) from error


def _run_name(operation: str, model: str | None) -> str:
    return f"{operation} {model}" if model else operation


def _require_artifact_store(run: Run) -> None:
    store = shown(mlflow.get_tracking_uri())
    if run.artifact_uri.startswith("mlflow-artifacts:") and not store.startswith("http"):
        name = MlflowClient().get_experiment(run.experiment_id).name
        raise TrackingError(
            f"experiment {name}: an MLflow server made it and keeps its artifacts, but the tracking store is {store}; "
            "use another experiment (MLFLOW_EXPERIMENT_NAME), or set MLFLOW_TRACKING_URI to the server's address"
        )


def _end_early(run: Run, status: str) -> None:
    """End a run in trouble; what else goes wrong is logged, so that the trouble itself is what rises."""
    try:
        run.close()
    except TrackingError as error:
        logger.error("%s", error)
    try:
        mlflow.end_run(status)
    except MlflowException as error:
        logger.error("run %s: its end could not be recorded (%s)", run.id, error)


def _summary(error: BaseException) -> str:
    message = str(error).strip().splitlines()
    first = message[0] if message else ""
    return first if isinstance(error, OdmlError) else f"{type(error).__name__}: {first}"


@contextmanager
def _storing(run_id: str, name: str) -> Iterator[None]:
    try:
        yield
    # Every artifact repository raises exceptions of its own.
    except Exception as error:
        raise TrackingError(f"run {run_id}: {name} cannot be stored ({error})") from error


def _flatten(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
