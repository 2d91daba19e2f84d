from pathlib import Path

import pytest

from odml.detection_outputs.going_on import open_folder
from odml.detection_outputs.json_lines import JSONLines
from odml.errors import ConfigurationError
from tests.found import result, rows_of, setup

CAT = ([2, 3, 12.5, 17], 0.9, 1)
SETTINGS = {"graph": "abc", "score_threshold": 0.5}


def run(folder: Path, *results) -> None:
    open_folder(folder, SETTINGS, skip_existing=True)
    lines = JSONLines(setup(folder))
    for each in results:
        lines.add(each, None)
    lines.close()


def found_in(folder: Path) -> list[tuple]:
    return [
        (each.name, each.index, rows_of(each.detections)) for each in open_folder(folder, SETTINGS, skip_existing=True)
    ]


def test_results_of_an_earlier_run_are_read(tmp_path):
    run(tmp_path / "out", result("a.png", CAT), result("b.png"))
    assert found_in(tmp_path / "out") == [("a.png", 0, [CAT]), ("b.png", 1, [])]


def test_results_of_a_run_that_was_killed_are_kept_but_for_a_line_that_was_cut(tmp_path):
    run(tmp_path / "out", result("a.png", CAT))
    run(tmp_path / "killed", result("a.png", CAT), result("b.png"))
    part = tmp_path / "out" / "detections.jsonl.part"
    part.write_text((tmp_path / "killed" / "detections.jsonl").read_text() + '{"file": "c.p')
    assert found_in(tmp_path / "out") == [("a.png", 0, [CAT]), ("b.png", 1, [])]
    assert not part.exists()
    assert len((tmp_path / "out" / "detections.jsonl").read_text().splitlines()) == 2


def test_folder_that_is_not_empty_is_left_alone(tmp_path):
    run(tmp_path / "out", result("a.png"))
    with pytest.raises(ConfigurationError) as raised:
        open_folder(tmp_path / "out", SETTINGS, skip_existing=False)
    assert str(raised.value) == (
        f"output_dir: {tmp_path}/out is not empty; give a new folder, or skip_existing=true to go on in this one"
    )


def test_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(ConfigurationError) as raised:
        open_folder(tmp_path, SETTINGS, skip_existing=True)
    assert str(raised.value) == (
        f"output_dir: {tmp_path} has no settings.json of an earlier detection to go on with; give a new folder"
    )


def test_results_of_other_settings_are_not_mixed(tmp_path):
    run(tmp_path / "out")
    with pytest.raises(ConfigurationError) as raised:
        open_folder(tmp_path / "out", SETTINGS | {"score_threshold": 0.3}, skip_existing=True)
    assert str(raised.value) == (
        f"output_dir: {tmp_path}/out was made with score_threshold 0.5, not 0.3; give a new folder, or detect as then"
    )
