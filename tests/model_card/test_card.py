import re
from pathlib import Path

import pytest

from odml.model_card import Facts, card_metrics, write_card
from odml.structures import LabelMap

PETS = LabelMap(("cat", "sea_lion|walrus"))
METRICS = {
    "coco/mAP": 0.5,
    "coco/mAP_50": 0.75,
    "score_threshold": 0.45,
    "per_class/AP/cat": 0.625,
    "per_class/score_threshold/cat": 0.375,
}


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    for name, size in {
        "frozen_inference_graph.pb": 2_500_000,
        "saved_model/saved_model.pb": 1_000_000,
        "saved_model/variables/variables.index": 500_000,
        "model.ckpt.index": 1000,
        "model.ckpt.data-00000-of-00001": 2000,
        "checkpoint": 10,
        "labels.pbtxt": 300,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"0" * size)
    return tmp_path


def rows(card: str) -> list[list[str]]:
    """Give the cells of all rows of tables."""
    lines = [line for line in card.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_card_tells_the_data_the_scores_and_the_thresholds(graph):
    facts = Facts("ssd", 900, data="pets", data_digest="abc", training="run 12", metrics=METRICS)
    card = write_card(graph, facts, PETS).read_text()
    assert card.startswith("# ssd: a detector of 2 classes\n")
    assert "Step 900 of a training (run 12)" in card
    for row in (
        ["trained on", "pets"],
        ["digest of the data", "abc"],
        ["mAP (IoU .50 to .95)", "0.500"],
        ["mAP@.75", "n/a"],
        ["1", "cat", "0.625", "0.375"],
        ["2", r"sea\_lion\|walrus", "n/a", "n/a"],
    ):
        assert row in rows(card)
    assert "if score >= 0.450:" in card


def test_card_of_a_checkpoint_that_was_not_evaluated_says_so(graph):
    card = write_card(graph, Facts("ssd", 900), LabelMap(("cat",))).read_text()
    assert "# ssd: a detector of 1 class\n" in card
    assert "on the validation images, which were not evaluated." in card
    assert ["1", "cat", "n/a", "n/a"] in rows(card)
    assert "if score >= 0.5:" in card


def test_files_that_belong_together_are_one_row_with_their_size(graph):
    (graph / "extra.txt").write_text("x" * 200_000)
    card = write_card(graph, Facts("ssd", 900), PETS).read_text()
    files = [row[:2] for row in rows(card) if row[0].startswith("`")]
    assert files == [
        ["`frozen_inference_graph.pb`", "2.5 MB"],
        ["`saved_model`", "1.5 MB"],
        ["`model.ckpt`", "3.0 kB"],
        ["`labels.pbtxt`", "300 B"],
        ["`extra.txt`", "0.2 MB"],
    ]


def test_card_shows_how_to_call_the_forms_that_are_there(graph):
    card = write_card(graph, Facts("ssd", 900), PETS).read_text()
    assert "ai_edge_litert" not in card
    assert "onnxruntime" not in card
    for name in ("model_int8.tflite", "model.onnx"):
        (graph / name).write_bytes(b"0")
    card = write_card(graph, Facts("ssd", 900), PETS).read_text()
    assert 'Interpreter("model_int8.tflite")' in card
    assert 'InferenceSession("model.onnx")' in card
    assert "README.md" not in card  # an older card is not one of the forms


def test_metrics_that_a_card_tells_of_have_the_names_of_an_evaluation():
    assert set(METRICS) <= set(card_metrics(PETS))


def test_programs_of_the_card_are_python(graph):
    for name in ("model.tflite", "model.onnx"):
        (graph / name).write_bytes(b"0")
    card = write_card(graph, Facts("ssd", 900), PETS).read_text()
    programs = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(programs) == 4
    for program in programs:
        compile(program, "card", "exec")


def test_card_tells_how_each_file_compares_with_the_checkpoint(graph):
    figures = {
        "mAP": 0.48,
        "mAP_drop": 0.02,
        "score_difference": 0.0312,
        "box_difference": None,
        "compared_detections": 12,
        "matched_detections": 11,
    }
    same = figures | {"mAP": 0.5, "mAP_drop": 1e-5}
    compared = {"checkpoint": {"mAP": 0.5}, "saved_model": same, "model_int8.tflite": figures}
    card = write_card(graph, Facts("ssd", 900, compared_examples=48, compared=compared), PETS).read_text()
    assert "Each was run on 48 of the validation images" in card
    for row in (
        ["(checkpoint)", "0.500", "", "", ""],
        ["`saved_model`", "0.500", "+0.0000", "11 of 12", "0.03, n/a"],
        ["`model_int8.tflite`", "0.480", "-0.0200", "11 of 12", "0.03, n/a"],
    ):
        assert row in rows(card)


def test_card_of_an_export_without_a_comparison_says_so(graph):
    card = write_card(graph, Facts("ssd", 900), PETS).read_text()
    assert "No mAP of these files was measured, for want of validation images;" in card
