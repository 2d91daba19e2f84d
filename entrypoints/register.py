"""Give an exported detector a name, a version and an alias, under which it is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from entrypoints.command import Command
from entrypoints.options import alias_option, export_option, name_option
from odml.errors import TrackingError

if TYPE_CHECKING:
    from odml.promotion import Decision, Version
    from odml.tracking import Measured, Run

# The tags of a version that say how good it is, and the metrics of an evaluation that they show.
MAP = "eval/coco/mAP"
SCORES = {"odml.mAP": MAP, "odml.mAP_50": "eval/coco/mAP_50", "odml.F1": "eval/F1"}
# What of its making a version shows as tags, and where the export or the training run has it.
COPIED_TAGS = ("odml.model", "odml.step", "odml.data.digest")
CHALLENGER, PREVIOUS = "challenger", "previous"
CARD = "graph/README.md"


@click.command(cls=Command)
@export_option
@name_option
@alias_option
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="How much lower the mAP may be than that of the version that has the alias, on the same data.",
)
@click.option(
    "--force",
    type=click.BOOL,
    default=False,
    show_default=True,
    help="Move the alias also to a version that is worse, or whose export is not like its checkpoint (true, false).",
)
def register(export: str, name: str, alias: str, tolerance: float, force: bool) -> None:
    """Register an exported detector as a new version, and move the alias to it unless it is worse than what has it."""
    from odml import tracking
    from odml.promotion import Verdict, decide

    with tracking.start_run("register") as run:
        # It is the run that counts, and no file of it.
        run.input("export", export, operations=("export_and_freeze",), artifact="graph", needed=lambda name: False)
        export_run = run.input_run("export")
        if export_run is None:
            raise TrackingError(
                f"export: {export} is a folder, not a run with a model; give a run of export_and_freeze"
            )
        model = tracking.logged_model(export_run, "detector")
        tags, measured = _tags_and_evaluations(run, export_run)
        number = tracking.add_version(model, name, tags=tags)
        run.tag("odml.registered", f"models:/{name}/{number}")
        new = _version(number, measured, parity=tracking.run_tags(export_run).get("odml.parity", ""))
        holder = _holder(run, name, alias)
        # Nothing is served as the challenger, and no alias at all cannot be taken from anything.
        decision = decide(new, holder, tolerance=tolerance) if alias not in ("", CHALLENGER) else None
        gate = _gate(decision, force) if decision else ""
        is_refused = decision is not None and not decision.verdict.moves and not force
        if is_refused:
            tracking.move_alias(name, CHALLENGER, number)
        elif alias:
            _give_alias(name, alias, number, holder)
        # After the alias: a version never says of itself what has not happened.
        description = _description(export_run, tags, gate)
        tracking.describe_version(name, number, tags={"odml.gate": gate} if gate else {}, description=description)
        if decision and is_refused:
            raise TrackingError(_refusal(name, number, alias, decision))
    uri = f"models:/{name}@{alias}" if alias else f"models:/{name}/{number}"
    click.echo(f"registered {name} version {number} as {uri}")
    if decision and decision.verdict is not Verdict.FIRST:
        click.echo(f"{gate}{_way_back(name, number, holder)}")
    click.echo(f"\n{_how_to_serve(uri)}")


def _tags_and_evaluations(run: Run, export_run: str) -> tuple[dict[str, str], list[Measured]]:
    """Say where a version comes from and how good it is, as far as the runs behind it tell."""
    from odml import tracking

    exported = tracking.run_tags(export_run)
    training_run = exported.get("odml.input.trained_model", "")
    tags = {"odml.export_run": export_run, "odml.training_run": training_run}
    known = {**(tracking.run_tags(training_run) if tracking.is_run_id(training_run) else {}), **exported}
    tags |= {name: known[name] for name in COPIED_TAGS if name in known}
    tags["odml.configuration"] = f"runs:/{export_run}/config.yml"
    measured = _evaluations(run, tags)
    if measured:
        newest = measured[0]
        tags["odml.evaluation_run"] = newest.run_id
        tags |= {name: f"{newest.metrics[metric]:.4f}" for name, metric in SCORES.items() if metric in newest.metrics}
    return tags, measured


def _evaluations(run: Run, version_tags: dict[str, str]) -> list[Measured]:
    from odml import tracking

    trained_model = version_tags.get("odml.training_run", "")
    step = version_tags.get("odml.step", "")
    return tracking.evaluations_of(trained_model, step, experiment_id=run.experiment_id) if trained_model else []


def _version(number: str, measured: list[Measured], *, parity: str = "") -> Version:
    from odml.promotion import Score, Version

    return Version(number, [Score(each.digest, each.images, each.metrics[MAP]) for each in measured], parity)


def _holder(run: Run, name: str, alias: str) -> Version | None:
    """Give the version that has the alias now."""
    from odml import tracking

    found = tracking.find_version(name, alias) if alias else None
    return _version(found.number, _evaluations(run, dict(found.tags))) if found else None


def _gate(decision: Decision, force: bool) -> str:
    forced = force and not decision.verdict.moves
    return f"{'forced' if forced else decision.verdict.value}: {decision.reason}"


def _give_alias(name: str, alias: str, number: str, holder: Version | None) -> None:
    from odml import tracking

    if holder and holder.number != number and alias != CHALLENGER:
        tracking.move_alias(name, PREVIOUS, holder.number)
    tracking.move_alias(name, alias, number)
    challenger = tracking.find_version(name, CHALLENGER)
    if alias != CHALLENGER and challenger and challenger.number == number:
        tracking.drop_alias(name, CHALLENGER)


def _refusal(name: str, number: str, alias: str, decision: Decision) -> str:
    return (
        f"model {name}: version {number} is {CHALLENGER} and not {alias}: {decision.reason}; look at both with "
        f"-e compare -P runs=models:/{name}@{alias},models:/{name}/{number}, or pass -P force=true"
    )


def _way_back(name: str, number: str, holder: Version | None) -> str:
    return f"; version {holder.number} is models:/{name}@{PREVIOUS}" if holder and holder.number != number else ""


def _description(export_run: str, tags: dict[str, str], gate: str) -> str:
    """Write what the page of the version says: links to all that it comes from, then the model card."""
    from odml import tracking

    runs = {
        "export": export_run,
        "training": tags["odml.training_run"],
        "evaluation": tags.get("odml.evaluation_run", ""),
    }
    training = runs["training"]
    if tracking.is_run_id(training):
        runs["data"] = tracking.run_tags(training).get("odml.input.dataset", "")
    links = [f"[{what}]({tracking.page_of(run_id)})" for what, run_id in runs.items() if tracking.is_run_id(run_id)]
    card = tracking.artifact_text(export_run, CARD) or ""
    return "\n\n".join(part for part in (f"Runs: {' · '.join(links)}", f"Gate: {gate}" if gate else "", card) if part)


def _how_to_serve(uri: str) -> str:
    from odml.serving.packaging import CURL

    serve = f"mlflow models serve -m {uri} --env-manager local --port 5001"
    page = f"mlflow run . -e serve --env-manager local -P model={uri}"
    return f"Serve it:\n\n{serve}\n\nand ask it:\n\n{CURL}\n\nOr serve it with a page to drop photos on:\n\n{page}"


if __name__ == "__main__":
    register()
