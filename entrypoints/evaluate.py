"""evaluate: a checkpoint, or any form of an export, against the validation records, or those of the test."""

from __future__ import annotations

from functools import partial

import click

from entrypoints.command import Command
from entrypoints.options import (
    dataset_option,
    eval_examples_option,
    gpus_option,
    measured_model_option,
    step_option,
    trained_model_option,
)

PICTURES = 8
# What MLflow is told that a data set was used for, by the side of its split.
CONTEXTS = {"val": "validation", "test": "test"}


@click.command(cls=Command)
@trained_model_option
@step_option
@measured_model_option
@dataset_option
@click.option(
    "--split",
    type=click.Choice(list(CONTEXTS)),
    default="val",
    show_default=True,
    help="The images to measure on: those for validation or those of the test (val, test).",
)
@eval_examples_option
@gpus_option
def evaluate(
    trained_model: str, step: str | int, model: str, dataset: str, split: str, eval_examples: int, gpus: str
) -> None:
    """Measure a checkpoint, or an export, on the validation or test images, also while the training goes on."""
    from odml import gpus as devices

    devices.choose(gpus)
    from entrypoints.evaluation_run import Evaluator
    from entrypoints.evaluation_subject import checkpoint_subject, form_subject
    from odml import batches, records, tracking

    if model and trained_model:
        raise click.UsageError("trained_model and model are given; give one of them")
    with tracking.start_run("evaluate") as run:
        subject = form_subject(run, model) if model else checkpoint_subject(run, trained_model, step)
        source = dataset or subject.dataset
        needed = partial(records.is_needed, side=split)
        folder = run.input("dataset", source, operations=("prepare",), artifact="dataset", needed=needed)
        data = records.open_dataset(folder, sides=(split,))
        subject.describe(run)
        run.tag("odml.split", split)
        run.tag("odml.data.digest", data.digest)
        run.log_dataset(data.name or data.folder.name, digest=data.digest, source=data.folder, context=CONTEXTS[split])
        with batches.naming_damage(data):
            evaluator = Evaluator(
                run,
                subject.predictor,
                data,
                label_map=subject.label_map,
                examples=eval_examples,
                pictures=PICTURES,
                side=split,
            )
            measured = f"{data.name or data.folder}, {CONTEXTS[split]}"
            facts = {"model": subject.model, "form": subject.form, "step": str(subject.step)}
            facts |= {"data": data.digest[:12], "run": run.id}
            analysis = evaluator.report(subject.step, title=measured, facts=facts)
    form = f"{subject.form}, " if model else ""
    click.echo(f"{form}step {subject.step} on {measured}:\n\n{analysis.evaluation.summary()}\n")
    click.echo(f"report: {run.artifact_uri}/evaluation/report.html")


if __name__ == "__main__":
    evaluate()
