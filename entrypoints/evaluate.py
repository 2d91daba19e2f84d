"""evaluate: a checkpoint against the validation records."""

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


@click.command(cls=Command)
@trained_model_option
@step_option
@dataset_option
@eval_examples_option
@gpus_option
def evaluate(trained_model: str, step: str | int, dataset: str, eval_examples: int, gpus: str) -> None:
    """Measure a checkpoint on the validation images, also while its training goes on."""
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
        run.tag("odml.model", trained.get("odml.model", model.name))
        run.tag("odml.step", found_step)
        run.tag("odml.data.digest", data.digest)
        run.log_text(model.configuration.to_yaml(), "config.yml")
        run.log_dataset(data.name or data.folder.name, digest=data.digest, source=data.folder, context="validation")
        with batches.naming_damage(data):
            evaluator = Evaluator(run, model, data, label_map=label_map, examples=eval_examples, pictures=PICTURES)
            result = evaluator.evaluate(found_step)
        run.log_text(result.summary() + "\n", "evaluation/summary.txt")
        run.log_table([vars(row) for row in result.per_class], "evaluation/per_class.json")
    click.echo(f"step {found_step} on {data.name or data.folder}:\n\n{result.summary()}")


if __name__ == "__main__":
    evaluate()
