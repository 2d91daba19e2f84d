"""export_and_freeze: a checkpoint -> graph/ for other programs, and the MLflow model that is registered and served."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from entrypoints.options import Command, gpus_option, step_option, trained_model_option


@click.command(cls=Command)
@trained_model_option
@step_option
@gpus_option
def export_and_freeze(trained_model: str, step: str | int, gpus: str) -> None:
    """Export a trained detector as a frozen graph, a SavedModel and a servable MLflow model."""
    from odml.gpus import choose

    choose(gpus)
    from odml import checkpoints
    from odml.export import export
    from odml.serving import log_detector
    from odml.tracking import start_run

    with start_run("export_and_freeze") as run, tempfile.TemporaryDirectory(prefix="odml-") as temporary:
        train = run.input("trained_model", trained_model, operations=("transfer_learn", "train"), artifact="train")
        network, label_map, found_step = checkpoints.load(train, step)
        tags = {"odml.step": str(found_step)} | _copied(run.input_tags("trained_model"))
        for name, value in tags.items():
            run.tag(name, value)
        run.log_text(network.configuration.to_yaml(), "config.yml")
        graph = Path(temporary, "graph")
        parity = export(network, graph, label_map=label_map, step=found_step)
        run.log_metrics(
            {
                "export/raw_difference": parity.raw_difference,
                "export/raw_rows": parity.rows,
                "export/paired_rows": parity.paired,
                "export/compared_detections": parity.compared,
                "export/matched_detections": parity.matched,
            }
        )
        run.log_artifacts(graph, "graph")
        training_run = {"odml.training_run": run.input_run("trained_model") or str(train)}
        model_uri = log_detector(graph, classes=label_map.names, metadata=tags | training_run)
    click.echo(
        f"step {found_step} with {len(label_map)} classes: {run.artifact_uri}/graph and {model_uri}\n"
        f"give it a name to serve it by: mlflow run . -e register -P export={run.id} --env-manager local"
    )


def _copied(training_tags: dict[str, str]) -> dict[str, str]:
    """Keep what the training run says of the model and its data, so that it can be read off the export too."""
    return {name: value for name, value in training_tags.items() if name.startswith(("odml.model", "odml.data"))}


if __name__ == "__main__":
    export_and_freeze()
