"""Give an exported detector a name, a version and an alias, under which it is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from entrypoints.options import Command, alias_option, export_option, name_option
from odml.errors import TrackingError

if TYPE_CHECKING:
    from odml.tracking import Run

# The tags of a version that say how good it is, and the metrics of an evaluation that they show.
SCORES = {"odml.mAP": "eval/coco/mAP", "odml.mAP_50": "eval/coco/mAP_50"}
# What of its making a version shows as tags, and where the export or the training run has it.
COPIED_TAGS = ("odml.model", "odml.step", "odml.data.digest")


@click.command(cls=Command)
@export_option
@name_option
@alias_option
def register(export: str, name: str, alias: str) -> None:
    """Register an exported detector as a new version and move the alias to it."""
    from odml import tracking

    with tracking.start_run("register") as run:
        run.input("export", export, operations=("export_and_freeze",), artifact="graph")
        export_run = run.input_run("export")
        if export_run is None:
            raise TrackingError(
                f"export: {export} is a folder, not a run with a model; give a run of export_and_freeze"
            )
        model = tracking.logged_model(export_run, "detector")
        version = tracking.register_model(model, name, tags=_version_tags(run, export_run), alias=alias)
        run.tag("odml.registered", f"models:/{name}/{version}")
    uri = f"models:/{name}@{alias}" if alias else f"models:/{name}/{version}"
    click.echo(f"registered {name} version {version} as {uri}\n\n{_how_to_serve(uri)}")


def _version_tags(run: Run, export_run: str) -> dict[str, str]:
    """Say where a version comes from and how good it is, as far as the runs behind it tell."""
    from odml import tracking

    exported = tracking.run_tags(export_run)
    training_run = exported.get("odml.input.trained_model", "")
    tags = {"odml.export_run": export_run, "odml.training_run": training_run}
    known = {**(tracking.run_tags(training_run) if tracking.is_run_id(training_run) else {}), **exported}
    tags |= {name: known[name] for name in COPIED_TAGS if name in known}
    same_checkpoint = {
        "odml.input.trained_model": training_run,
        "odml.step": exported.get("odml.step", ""),
        "odml.split": "val",
    }
    evaluation_run = run.latest("evaluate", tags=same_checkpoint)
    if evaluation_run:
        tags["odml.evaluation_run"] = evaluation_run
        metrics = tracking.run_metrics(evaluation_run)
        tags |= {name: f"{metrics[metric]:.4f}" for name, metric in SCORES.items() if metric in metrics}
    return tags


def _how_to_serve(uri: str) -> str:
    from odml.serving.packaging import CURL

    serve = f"mlflow models serve -m {uri} --env-manager local --port 5001"
    return f"Serve it:\n\n{serve}\n\nand ask it:\n\n{CURL}"


if __name__ == "__main__":
    register()
