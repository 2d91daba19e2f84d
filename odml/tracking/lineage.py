"""The way from a model back to the photos, as the tags and inputs of runs tell it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from odml.errors import TrackingError
from odml.tracking.evaluations import MAP
from odml.tracking.inputs import RUN_ID, runs_of
from odml.tracking.links import artifact_page, model_page, run_page, ui_address, version_page
from odml.tracking.registry import RegisteredVersion, version_of
from odml.tracking.stores import open_store

# What a run is worth telling of, by its tag: the name for people.
_FACTS = {
    "odml.model": "model",
    "odml.step": "step",
    "odml.split": "split",
    "odml.evaluated_images": "images",
    "odml.stop_reason": "ended",
    "odml.parity": "parity",
    "odml.data.digest": "data digest",
    "odml.data.split": "split",
    "odml.error": "error",
}
_VERSION_FACTS = {"odml.mAP": "mAP", "odml.mAP_50": "mAP@.5", "odml.gate": "gate"}
_TRAININGS = ("train", "transfer_learn")
_ABOVE = " (see above)"
# What came after a run: of what it was made, only what nothing else was is worth telling.
_LATER = ("measured by", "resumed by")


@dataclass(frozen=True)
class Origin:
    """One thing on the way: a version, a model, a run, a folder, the photos; and what that was made of.

    Attributes:
        role: what it is to the thing that it stands under, such as "trained by".
        name: what people call it.
        page: its page in the UI, "" if it has none.
        facts: what else there is to tell, by name.
    """

    role: str
    name: str
    page: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    origins: tuple[Origin, ...] = ()


def lineage_of(value: str) -> Origin:
    """Walk from a run's id, or a ``models:/`` URI, to the photos.

    Raises:
        TrackingError: the store does not answer, or has no such run or model; what is missing further on is told in the
            tree.
    """
    store = open_store()
    walk = _Walk(MlflowClient())
    if RUN_ID.fullmatch(value):
        try:
            return walk.run("run", MlflowClient().get_run(value))
        except MlflowException as error:
            raise TrackingError(f"model: run {value} is not in {store}; check the id") from error
    if not value.startswith("models:/"):
        raise TrackingError(f"model: {value!r} is neither a run id nor a models:/ URI; give models:/NAME@ALIAS")
    version = version_of(value)
    return walk.version(version) if version else walk.logged_model("model", value)


class _Walk:
    """Follows tags; a run that it has been at is named once more, but not followed again."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._seen: set[str] = set()
        self._ui = ui_address()

    def version(self, version: RegisteredVersion) -> Origin:
        facts = {"aliases": ", ".join(version.aliases)} if version.aliases else {}
        facts |= {name: version.tags[tag] for tag, name in _VERSION_FACTS.items() if tag in version.tags}
        source = version.source
        origin = version_of(source) if source.startswith("models:/") else None
        return Origin(
            "version",
            f"{version.name} {version.number}",
            self._page(version_page(version.name, version.number)),
            facts,
            (self.version(origin) if origin else self.logged_model("logged model", source),),
        )

    def logged_model(self, role: str, uri: str) -> Origin:
        model_id = uri.rpartition("/")[2]
        try:
            model = self._client.get_logged_model(model_id)
        except MlflowException:
            return Origin(role, f"{uri} (is no longer there)")
        made_by = self._run_of("made by", model.source_run_id or "")
        return Origin(
            role, f"{model.name} {uri}", self._page(model_page(model.experiment_id, model_id)), {}, (made_by,)
        )

    def run(self, role: str, run: Run) -> Origin:
        tags = run.data.tags
        operation = tags.get("odml.operation", "")
        name = f"{operation or 'run'} {run.info.run_id}"
        facts = {"status": run.info.status} | {title: tags[tag] for tag, title in _FACTS.items() if tag in tags}
        if run.info.run_id in self._seen:
            return Origin(role, f"{name}{_ABOVE}", self._page(run_page(run)))
        self._seen.add(run.info.run_id)
        scores = {
            title: run.data.metrics.get(metric) for title, metric in (("mAP", MAP), ("test mAP", "test/coco/mAP"))
        }
        facts |= {title: f"{score:.4f}" for title, score in scores.items() if score is not None}
        follow: Callable[[Run], tuple[Origin, ...]] = self._photos if operation == "prepare" else self._inputs
        origins = follow(run)
        if role in _LATER:
            origins = tuple(each for each in origins if not each.name.endswith(_ABOVE))
        return Origin(role, name, self._page(run_page(run)), facts, origins)

    def _inputs(self, run: Run) -> tuple[Origin, ...]:
        tags = run.data.tags
        found = [
            self._run_of(role, tags[f"odml.input.{name}"])
            for name, role in (
                ("export", "exported by"),
                ("model", "exported by"),
                ("trained_model", "trained by"),
                ("weights", "started from"),
                ("dataset", "learned from" if tags.get("odml.operation") in _TRAININGS else "data"),
            )
            if f"odml.input.{name}" in tags
        ]
        if tags.get("odml.operation") == "export_and_freeze":
            found += self._later(run, "evaluate", "odml.input.model", "measured by")
        if tags.get("odml.operation") in _TRAININGS:
            found += self._later(run, "evaluate", "odml.input.trained_model", "measured by")
            found += self._later(run, "resume", "odml.resumes", "resumed by")
        return tuple(found)

    def _later(self, run: Run, operation: str, tag: str, role: str) -> list[Origin]:
        runs = runs_of(self._client, run.info.experiment_id, (operation,), {tag: run.info.run_id})
        return [self.run(role, each) for each in runs if each.info.run_id not in self._seen]

    def _run_of(self, role: str, value: str) -> Origin:
        if not RUN_ID.fullmatch(value):
            return Origin(role, value or "unknown")
        try:
            return self.run(role, self._client.get_run(value))
        except MlflowException:
            return Origin(role, f"run {value} (is no longer there)")

    def _photos(self, run: Run) -> tuple[Origin, ...]:
        """Tell of the photos that a run of prepare has read."""
        metrics = run.data.metrics
        sides = {side: metrics.get(f"data/{side}_images") for side in ("train", "val", "test")}
        facts = {f"{side} images": f"{count:.0f}" for side, count in sides.items() if count is not None}
        used = run.inputs.dataset_inputs if run.inputs else []
        sources = [json.loads(each.dataset.source)["uri"] for each in used if each.dataset.source]
        facts |= {"digest": digest} if (digest := run.data.tags.get("odml.data.digest")) else {}
        listed = self._page(artifact_page(run, "dataset/split.json"))
        return (Origin("photos", sources[0] if sources else "unknown", listed, facts),)

    def _page(self, path: str) -> str:
        return f"{self._ui}/{path}"
