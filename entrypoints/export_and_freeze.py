"""export_and_freeze: a checkpoint -> graph/ for other programs, and the MLflow model that is registered and served."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from entrypoints.options import (
    Command,
    calibration_option,
    gpus_option,
    input_type_option,
    step_option,
    tflite_option,
    trained_model_option,
)

if TYPE_CHECKING:
    from odml.model_card import Facts
    from odml.records import Dataset
    from odml.structures import LabelMap
    from odml.tracking import Run


@click.command(cls=Command)
@trained_model_option
@step_option
@input_type_option
@tflite_option
@calibration_option
@gpus_option
def export_and_freeze(
    trained_model: str, step: str | int, input_type: str, tflite: str, dataset: str, gpus: str
) -> None:
    """Export a trained detector as a frozen graph, a SavedModel, a servable MLflow model, and for TensorFlow Lite."""
    from odml.gpus import choose

    choose(gpus)
    from odml import checkpoints
    from odml.export import export
    from odml.model_card import write_card
    from odml.serving import log_detector
    from odml.tflite import parse_forms, require_convertible, write
    from odml.tracking import start_run

    forms = parse_forms(tflite)
    with start_run("export_and_freeze") as run, tempfile.TemporaryDirectory(prefix="odml-") as temporary:
        train = run.input("trained_model", trained_model, operations=("transfer_learn", "train"), artifact="train")
        network, label_map, found_step = checkpoints.load(train, step)
        trained = run.input_tags("trained_model")
        tags = {"odml.step": str(found_step)} | _copied(trained)
        for name, value in tags.items():
            run.tag(name, value)
        run.log_text(network.configuration.to_yaml(), "config.yml")
        if trained.get("odml.quantize") == "true" and "int8" not in forms:
            forms.append("int8")
        if forms:
            require_convertible(network.configuration)
            data = _pictures(run, dataset, forms, label_map)
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
        write_card(graph, _facts(run, {"odml.model": network.name} | tags, label_map), label_map)
        run.log_artifacts(graph, "graph")
        training_run = {"odml.training_run": run.input_run("trained_model") or str(train)}
        model_uri = log_detector(graph, classes=label_map.names, metadata=tags | training_run)
    click.echo(
        f"step {found_step} with {len(label_map)} classes: {run.artifact_uri}/graph and {model_uri}\n"
        f"give it a name to serve it by: mlflow run . -e register -P export={run.id} --env-manager local"
    )


def _pictures(run: Run, dataset: str, forms: Sequence[str], label_map: LabelMap) -> Dataset | None:
    """Open the data set that TensorFlow Lite files are calibrated and checked with; only int8 cannot do without."""
    from entrypoints.evaluation_run import require_same_classes
    from odml.records import open_dataset

    source = dataset or run.input_tags("trained_model").get("odml.input.dataset", "")
    if not source and "int8" not in forms:
        return None
    found = open_dataset(run.input("dataset", source, operations=("prepare",), artifact="dataset"))
    require_same_classes(found, label_map)
    return found


def _facts(run: Run, tags: dict[str, str], label_map: LabelMap) -> Facts:
    """Say of the card what the training and its newest evaluation tell, or else the training's own evaluation."""
    from odml import tracking
    from odml.model_card import Facts, card_metrics

    training, step = run.input_run("trained_model"), int(tags["odml.step"])
    metrics = {}
    if training:
        same = {"odml.input.trained_model": training, "odml.step": str(step), "odml.split": "val"}
        measured = run.latest("evaluate", tags=same) or training
        names = {f"eval/{name}": name for name in card_metrics(label_map)}
        metrics = {names[name]: value for name, value in tracking.metrics_at(measured, names, step).items()}
    data = run.input_tags("trained_model").get("odml.input.dataset", "")
    return Facts(
        model=tags["odml.model"],
        step=step,
        data=f"run {data}" if tracking.is_run_id(data) else Path(data).name,
        data_digest=tags.get("odml.data.digest", ""),
        training=f"run {training}" if training else "",
        metrics=metrics,
    )


def _copied(training_tags: dict[str, str]) -> dict[str, str]:
    """Keep what the training run says of the model and its data, so that it can be read off the export too."""
    return {name: value for name, value in training_tags.items() if name.startswith(("odml.model", "odml.data"))}


if __name__ == "__main__":
    export_and_freeze()
