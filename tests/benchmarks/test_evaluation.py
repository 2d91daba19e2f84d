import re

import pytest

from benchmarks import evaluation


@pytest.mark.slow
def test_the_numbers_are_those_of_pycocotools_and_the_last_line_sums_up(capsys: pytest.CaptureFixture[str]):
    evaluation.main(["--images", "30"])
    *lines, last = capsys.readouterr().out.splitlines()
    names = ("seconds", "report_seconds", "report_mb", "pycocotools_seconds", "ratio", "difference")
    figures = re.fullmatch("evaluation: " + " ".join(rf"{name}=(\S+)" for name in names), last)
    assert figures
    assert float(figures[6]) <= 1e-9
    assert [line.split("  ")[0] for line in lines[3:5]] == ["mAP", "mAP@.5"]


@pytest.mark.slow
def test_without_the_reference(capsys: pytest.CaptureFixture[str]):
    evaluation.main(["--images", "2", "--without-pycocotools"])
    assert re.fullmatch(
        r"evaluation: seconds=\S+ report_seconds=\S+ report_mb=\S+", capsys.readouterr().out.splitlines()[-1]
    )
