"""Who may import whom: the one-way flow of the design, held."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each module or package, and which others of odml's it may import; a line names only what stands above it.
MAY_IMPORT = {
    "errors": "",
    "boxes": "",
    "losses": "",
    "progress": "",
    "parallel": "",
    "pages": "",
    "figures": "",
    "signals": "",
    "host_memory": "",
    "structures": "errors",
    "config": "errors",
    "downloads": "errors progress",
    "gpus": "errors",
    "distribution": "errors",
    "tracking": "errors",
    "listing": "",
    "images": "errors listing",
    "image_index": "images listing",
    "annotation_table": "structures listing",
    "annotations": "structures boxes errors images image_index listing",
    "known_datasets": "downloads structures boxes errors images annotations progress",
    "splitting": "errors structures",
    "foreign_records": "structures errors progress",
    "example_parsing": "structures",
    "records": "foreign_records example_parsing structures boxes errors images",
    "evaluation": "structures errors",
    "comparison": "structures evaluation",
    "promotion": "",
    "drawing": "structures evaluation",
    "engines": "errors parallel",
    "inspection": "annotations annotation_table engines image_index images drawing figures pages structures boxes "
    "errors parallel progress",
    "report": "comparison drawing figures pages structures evaluation errors",
    "model_card": "structures",
    "shards": "records annotation_table images structures errors parallel",
    "preparation": "inspection splitting records shards engines drawing annotations images structures errors progress",
    "augmentation": "boxes",
    "anchors": "boxes",
    "targets": "boxes",
    "postprocessing": "boxes targets",
    "batches": "records foreign_records example_parsing augmentation config structures errors",
    "backbones": "",
    "architectures": "config backbones anchors targets losses postprocessing boxes",
    "weight_averages": "architectures",
    "initial_weights": "architectures config structures downloads errors",
    "preview": "preparation batches drawing config records structures boxes",
    "suitability": "architectures inspection records example_parsing structures boxes errors",
    "checkpoints": "architectures weight_averages config structures errors",
    "prediction": "structures boxes progress",
    "training": "architectures weight_averages distribution checkpoints config errors progress",
    "memory": "architectures batches gpus host_memory training config errors records weight_averages",
    "detector": "structures boxes errors images",
    "forms": "detector structures errors",
    "export": "architectures checkpoints config forms targets structures errors",
    "tflite": "architectures batches config errors export forms postprocessing records structures targets",
    "form_comparison": "batches boxes errors evaluation forms prediction records structures",
    "serving": "detector drawing images structures errors",
    "tiling": "structures boxes errors",
    "selection": "tiling structures errors",
    "sources": "listing images parallel errors",
    "ground_truth": "annotations inspection image_index images structures errors",
    "detection_outputs": "sources drawing pages images structures errors",
    "batch_detection": "detection_outputs detector selection sources tiling structures errors parallel progress",
}
SHARED_BY_ENTRYPOINTS = {
    "command",
    "options",
    "training_run",
    "training_job",
    "trained_model",
    "logbook",
    "evaluation_run",
    "evaluation_report",
    "evaluation_subject",
    "export_run",
    "inspection_run",
    "detection_run",
}
IMPORT_MLFLOW = {"tracking", "serving"}


def imports_of(path: Path) -> set[str]:
    """Give the dotted names that a file imports: ``from odml.boxes import iou`` is odml.boxes.iou."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def parts_of(names: set[str], package: str) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith(f"{package}.")}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "odml").parts[0].removesuffix(".py")


MODULES = sorted(path for path in (ROOT / "odml").rglob("*.py") if part_of(path) not in {"__init__", "configs"})


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_module_imports_only_what_stands_above_it(path):
    allowed = {part_of(path), *MAY_IMPORT[part_of(path)].split(), "__version__"}
    assert parts_of(imports_of(path), "odml") <= allowed


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_tracking_and_serving_import_mlflow(path):
    uses_mlflow = any(name.split(".")[0] == "mlflow" for name in imports_of(path))
    assert not uses_mlflow or part_of(path) in IMPORT_MLFLOW


@pytest.mark.parametrize("path", sorted((ROOT / "entrypoints").glob("*.py")), ids=lambda path: path.name)
def test_entry_points_do_not_import_one_another(path):
    assert parts_of(imports_of(path), "entrypoints") <= SHARED_BY_ENTRYPOINTS


def test_table_names_no_module_before_those_that_it_imports():
    order = list(MAY_IMPORT)
    for part, allowed in MAY_IMPORT.items():
        assert all(order.index(other) < order.index(part) for other in allowed.split()), part
