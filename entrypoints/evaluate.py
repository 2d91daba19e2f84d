"""evaluate: a checkpoint against the validation records, or those of the test."""

from __future__ import annotations

import click

from entrypoints.options import (
    Command,
    dataset_option,
    eval_examples_option,
    gpus_option,
    step_option,
    trained_model_option,
)

PICTURES = 8
# What MLflow is told that a data set was used for, by the side of its split.
CONTEXTS = {"val": "validation", "test": "test"}


@click.command(cls=Command)
@trained_model_option
@step_option
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
def evaluate(trained_model: str, step: str | int, dataset: str, split: str, eval_examples: int, gpus: str) -> None:
    """Measure a checkpoint on the validation or test images, also while its training goes on."""
    from odml import gpus as devices

    devices.choose(gpus)
    from entrypoints.evaluation_run import Evaluator
    from odml import batches, checkpoints, records, tracking

    with tracking.start_run("evaluate") as run:
        folder = run.input("trained_model", trained_model, operations=("transfer_learn", "train"), artifact="train")
        trained = run.input_tags("trained_model")
        source = dataset or trained.get("odml.input.dataset", "")
        data = records.open_dataset(run.input("dataset", source, operations=("prepare",), artifact="dataset"))
        model, label_map, found_step = checkpoints.load(folder, step)
        named = trained.get("odml.model", str(model.name))
        run.tag("odml.model", named)
        run.tag("odml.step", found_step)
        run.tag("odml.split", split)
        run.tag("odml.data.digest", data.digest)
        run.log_parameters(model.configuration.model_dump(mode="json"))
        run.log_text(model.configuration.to_yaml(), "config.yml")
        run.log_dataset(data.name or data.folder.name, digest=data.digest, source=data.folder, context=CONTEXTS[split])
        with batches.naming_damage(data):
            evaluator = Evaluator(
                run, model, data, label_map=label_map, examples=eval_examples, pictures=PICTURES, side=split
            )
            measured = f"{data.name or data.folder}, {CONTEXTS[split]}"
            facts = {"model": named, "step": str(found_step), "data": data.digest[:12], "run": run.id}
            analysis = evaluator.report(found_step, title=measured, facts=facts)
    click.echo(f"step {found_step} on {measured}:\n\n{analysis.evaluation.summary()}\n")
    click.echo(f"report: {run.artifact_uri}/evaluation/report.html")


if __name__ == "__main__":
    evaluate()
