from __future__ import annotations

import re
import shutil

import pytest

from benchmarks import inference
from odml.export import describe


def test_every_form_is_measured_and_the_last_line_sums_up(exported, tmp_path, capsys: pytest.CaptureFixture[str]):
    graph = tmp_path / "graph"
    shutil.copytree(exported.folder, graph)
    describe(graph, comparison={"examples": 9, "checkpoint": {"mAP": 0.5}, "onnx": {"mAP": 0.4, "mAP_drop": 0.1}})
    assert inference.main([str(graph), "--turns", "2"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    names = re.findall(r" (\w+)=\d", last)
    assert names == [
        *("frozen_graph_ms", "frozen_graph_b8", "saved_model_ms", "saved_model_b8"),
        *("tflite_float32_ms", "tflite_float16_ms", "tflite_int8_ms", "onnx_ms", "onnx_b8", "onnx_drop"),
    ]
    assert last.startswith("inference: ")
    assert re.fullmatch(r"onnx, batch 8: \S+ wall ms and \S+ CPU ms a picture, \S+ a second", lines[-2])
    assert lines[-1] == "onnx: mAP 0.400 on 9 pictures, 0.1000 below the checkpoint's"


def test_folder_without_a_readable_form_is_told(tmp_path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "model.tflite").write_bytes(b"no")
    assert inference.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith(f"inference: {tmp_path}/model.tflite: is no TensorFlow Lite file")
