"""export_and_freeze: a checkpoint -> graph/ for other programs, and the MLflow model that is registered and served."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from entrypoints.command import Command
from entrypoints.options import (
    compared_dataset_option,
    compared_examples_option,
    given,
    gpus_option,
    input_type_option,
    max_map_drop_option,
    onnx_option,
    step_option,
    tflite_option,
    trained_model_option,
)


@click.command(cls=Command)
@trained_model_option
@step_option
@input_type_option
@tflite_option
@onnx_option
@compared_dataset_option
@compared_examples_option
@max_map_drop_option
@gpus_option
def export_and_freeze(
    trained_model: str,
    step: str | int,
    input_type: str,
    tflite: str,
    onnx: bool,
    dataset: str,
    eval_examples: int,
    max_map_drop: float,
    gpus: str,
) -> None:
    """Export a trained detector as a frozen graph, a SavedModel, a servable MLflow model, and for other runtimes."""
    from odml.gpus import choose

    choose(gpus)
    from entrypoints.export_run import compare_forms, facts_of, find_dataset, told, verdict
    from entrypoints.trained_model import fetch_training
    from odml import checkpoints
    from odml.export import export, require_onnx, write_onnx
    from odml.forms import FORMS
    from odml.model_card import write_card
    from odml.serving import log_detector
    from odml.tflite import parse_forms, require_convertible, write
    from odml.tracking import start_run

    forms = parse_forms(tflite)
    with start_run("export_and_freeze") as run, tempfile.TemporaryDirectory(prefix="odml-") as temporary:
        train = fetch_training(run, trained_model, step)
        network, label_map, found_step = checkpoints.load(train, step)
        trained = run.input_tags("trained_model")
        tags = {"odml.model": str(network.name), "odml.step": str(found_step)} | _copied(trained)
        run.tag_model(tags["odml.model"])
        for name in sorted(tags.keys() - {"odml.model"}):
            run.tag(name, tags[name])
        run.log_text(network.configuration.to_yaml(), "config.yml")
        if trained.get("odml.quantize") == "true" and "int8" not in forms:
            forms.append("int8")
        if forms:
            require_convertible(network.configuration)
        if onnx:
            require_onnx(network.configuration)
        data = find_dataset(run, dataset, label_map, needed="int8" in forms)
        graph = Path(temporary, "graph")
        parity = export(network, graph, label_map=label_map, step=found_step, input_type=input_type)
        run.log_metrics(
            {
                "export/raw_difference": parity.raw_difference,
                "export/raw_rows": parity.rows,
                "export/paired_rows": parity.paired,
                "export/compared_detections": parity.compared,
                "export/matched_detections": parity.matched,
            }
        )
        if forms:
            differences = write(network, graph, forms=forms, label_map=label_map, dataset=data)
            for form, found in differences.items():
                run.log_metrics(
                    {f"export/tflite_{form}_{name}_difference": value for name, value in vars(found).items()}
                )
        if onnx:
            write_onnx(network.detect, graph / FORMS["onnx"].file)
        comparison = compare_forms(run, network, graph, data, examples=eval_examples, max_drop=given(max_map_drop))
        tags["odml.parity"] = verdict(comparison)
        write_card(graph, facts_of(run, tags, label_map, comparison), label_map)
        run.log_artifacts(graph, "graph")
        training_run = {"odml.training_run": run.input_run("trained_model") or str(train)}
        model_uri = log_detector(graph, classes=label_map.names, metadata=tags | training_run)
    click.echo(
        f"step {found_step} with {len(label_map)} classes: {run.artifact_uri}/graph and {model_uri}\n"
        f"{told(comparison)}\n"
        f"give it a name to serve it by: mlflow run . -e register -P export={run.id} --env-manager local"
    )


def _copied(training_tags: dict[str, str]) -> dict[str, str]:
    """Keep what the training run says of the model and its data, so that it can be read off the export too."""
    return {name: value for name, value in training_tags.items() if name.startswith(("odml.model", "odml.data"))}


if __name__ == "__main__":
    export_and_freeze()
