"""README.md of an export folder: what the detector is, how good it is, and how to call each of its forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from odml.structures import LabelMap

CARD = "README.md"
_FORMS = {
    "frozen_inference_graph.pb": "frozen graph: one file for TensorFlow 1 sessions, `tf.graph_util`, converters",
    "opencv": "the graph for OpenCV's dnn module",
    "saved_model": "SavedModel: TensorFlow Serving, `tf.saved_model.load`, converters",
    "model.tflite": "TensorFlow Lite (LiteRT), float32",
    "model_float16.tflite": "TensorFlow Lite (LiteRT), weights of 16 bits",
    "model_int8.tflite": "TensorFlow Lite (LiteRT), 8 bits throughout",
    "model.onnx": "ONNX: ONNX Runtime, OpenVINO",
    "model.ckpt": "TensorFlow 1 checkpoint and its graph: `import_meta_graph`, further training",
    "pipeline.config": "the configuration in the words of the TensorFlow Object Detection API",
    "model.json": "the configuration in odml's words",
    "labels.pbtxt": "the names of the classes",
    "labels.txt": "the same, a name a line, for TensorFlow Lite",
}
_METRICS = {
    "coco/mAP": "mAP (IoU .50 to .95)",
    "coco/mAP_50": "mAP@.5",
    "coco/mAP_75": "mAP@.75",
    "coco/mAP_small": "mAP of small objects",
    "coco/mAP_medium": "mAP of medium objects",
    "coco/mAP_large": "mAP of large objects",
    "coco/AR_100": "AR@100",
    "F1": "F1 at one threshold for all classes",
}
_CLASS_METRICS = ("AP", "score_threshold")


@dataclass(frozen=True)
class Facts:
    """What an export folder does not say itself.

    ``data`` is what people call the training's data, ``training`` the run. ``metrics`` are those of the checkpoint on
    validation images under the names that ``card_metrics`` gives, empty if it was not evaluated. ``compared`` are the
    figures of the comparison with the checkpoint on ``compared_examples`` validation images, by file: ``mAP``,
    ``mAP_drop``, ``score_difference``, ``box_difference``, ``compared_detections`` and ``matched_detections``, of
    ``checkpoint`` the mAP alone; empty if there was none.
    """

    model: str
    step: int
    data: str = ""
    data_digest: str = ""
    training: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    compared_examples: int = 0
    compared: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)


def card_metrics(label_map: LabelMap) -> list[str]:
    """Name the metrics of an evaluation that a card can tell of."""
    of_classes = [f"per_class/{kind}/{name}" for name in label_map.names for kind in _CLASS_METRICS]
    return [*_METRICS, "score_threshold", *of_classes]


def write_card(folder: Path, facts: Facts, label_map: LabelMap) -> Path:
    """Write the card of the forms that the export folder has now, and give its path; an older one is replaced."""
    path = folder / CARD
    path.unlink(missing_ok=True)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("odml.model_card", "."),
        autoescape=False,  # it is Markdown
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    forms = _forms(folder)
    there = [name for name, _, _ in forms]
    text = environment.get_template("card.md").render(
        facts=facts,
        classes=[_class_row(number, name, facts.metrics) for number, name in enumerate(label_map.names, start=1)],
        metrics={title: _shown(facts.metrics.get(name)) for name, title in _METRICS.items()},
        forms=forms,
        compared=[_compared_row(name, figures) for name, figures in facts.compared.items()],
        there=there,
        tflite=next((name for name in there if name.endswith(".tflite")), None),
        threshold=_shown(facts.metrics.get("score_threshold"), "0.5"),
    )
    path.write_text(text, encoding="utf-8")
    return path


def _class_row(number: int, name: str, metrics: Mapping[str, float]) -> tuple[str, ...]:
    figures = (metrics.get(f"per_class/{kind}/{name}") for kind in _CLASS_METRICS)
    return (str(number), name, *map(_shown, figures))


def _compared_row(name: str, figures: Mapping[str, float | None]) -> tuple[str, ...]:
    """Give the cells of a form: its mAP, how far that is below the checkpoint's, and how much its detections differ."""
    if "mAP_drop" not in figures:
        return (f"({name})", _shown(figures["mAP"]), "", "", "")
    found = f"{figures['matched_detections']:.0f} of {figures['compared_detections']:.0f}"
    differences = [_difference(figures[f"{kind}_difference"]) for kind in ("score", "box")]
    return (f"`{name}`", _shown(figures["mAP"]), _signed(figures["mAP_drop"]), found, ", ".join(differences))


def _signed(drop: float | None) -> str:
    """Write a drop as a change, which is 0 and not -0 where nothing shows."""
    return "n/a" if drop is None else f"{round(-drop, 4) + 0.0:+.4f}"


def _difference(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1g}"


def _forms(folder: Path) -> list[tuple[str, str, str]]:
    """Give the name, the size and the use of each form in the folder; unknown files have no use."""
    sizes: dict[str, int] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "checkpoint":
            name = path.relative_to(folder).parts[0]
            name = "model.ckpt" if name.startswith("model.ckpt.") else name
            sizes[name] = sizes.get(name, 0) + path.stat().st_size
    order = [*(name for name in _FORMS if name in sizes), *(name for name in sizes if name not in _FORMS)]
    return [(name, _size(sizes[name]), _FORMS.get(name, "")) for name in order]


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _shown(value: float | None, unknown: str = "n/a") -> str:
    return unknown if value is None else f"{value:.3f}"


def _cell(text: str) -> str:
    """Write text in a cell of a Markdown table, whatever is in it."""
    for special in ("\\", "|", "`", "*", "_", "[", "]", "<", ">"):
        text = text.replace(special, f"\\{special}")
    return " ".join(text.split())
