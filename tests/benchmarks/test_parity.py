from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import goldens, parity
from benchmarks.goldens import Folder

SMALLEST = "ssd-mobilenet-v2_3_synth_480x640.npz"


@pytest.fixture
def folder(shared: Path, tmp_path: Path) -> Path:
    """A folder of one golden."""
    names = [SMALLEST, "weights_rule.py", "variables_ssd-mobilenet-v2_3.json", "configs/ssd-mobilenet-v2_3.config"]
    (tmp_path / "configs").mkdir()
    for name in names:
        shutil.copyfile(shared / "golden" / name, tmp_path / name)
    return tmp_path


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["parity", str(folder), *options])
    return parity.main()


def test_networks_are_the_originals(folder, monkeypatch, capsys):
    np.savez(folder / "train_ssd-mobilenet-v2_3_frozenbn.npz")
    assert run(folder, monkeypatch) == 0
    *lines, skipped, summary = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ssd-mobilenet-v2_3 synth_480x640 detection_boxes ")
    assert any(line.startswith("ssd-mobilenet-v2_3 synth_480x640 feature_maps_5 ") for line in lines)
    assert any("blocks" in line and "(28 of 28" in line for line in lines)
    assert skipped.startswith("train_ssd-mobilenet-v2_3_frozenbn.npz: skipped")
    assert summary.startswith("parity: files=1 tensors=16 max=")
    assert summary.endswith("e-05 unpaired=0 skipped=1 failed=0 tolerance=0.0001")


def test_golden_that_differs(folder, monkeypatch, capsys):
    tensors = dict(np.load(folder / SMALLEST))
    tensors["box_encodings"][0, 5, 2] += 0.01
    tensors["detection_scores"][0, :3] = 0.2
    np.savez(folder / SMALLEST, **tensors)
    assert run(folder, monkeypatch) == 1
    *lines, summary = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines if "TOO LARGE" in line] == [
        "detection_boxes",
        "detection_scores",
        "detection_classes",
        "box_encodings",
    ]
    assert "(3 rows unpaired; TOO LARGE)" in lines[0]
    assert " failed=4 " in summary


def test_other_weights_than_the_goldens(folder, monkeypatch, capsys):
    rule = folder / "weights_rule.py"
    rule.write_text(rule.read_text().replace("0.05 * z", "0.06 * z"))
    assert run(folder, monkeypatch) == 1
    assert capsys.readouterr().out == (
        "parity: BoxPredictor_0/BoxEncodingPredictor/biases: weights_rule.py gives other values than the golden's;"
        " use its own rule\n"
    )


def test_folder_without_goldens(tmp_path, monkeypatch, capsys):
    assert run(tmp_path, monkeypatch) == 1
    assert (
        capsys.readouterr().out == f"parity: {tmp_path / 'weights_rule.py'}: is not there; name a folder of goldens\n"
    )


def test_checkout_without_the_goldens(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(goldens, "DEFAULT", tmp_path / "golden")
    monkeypatch.setattr(sys, "argv", ["parity"])
    assert parity.main() == 0
    assert capsys.readouterr().out == f"parity: skipped, there are no goldens in {tmp_path / 'golden'}\n"


def test_golden_without_its_configuration(folder, monkeypatch, capsys):
    (folder / "configs" / "ssd-mobilenet-v2_3.config").unlink()
    assert run(folder, monkeypatch) == 1
    assert capsys.readouterr().out == (
        f"parity: {folder / SMALLEST}: there is no configs/<model>_<classes>.config for it; add it or remove the file\n"
    )


def test_photos_are_found_by_name(shared):
    picture = Folder(shared / "golden").picture("voc_2007_000027")
    assert picture.shape == (500, 486, 3)
    assert picture.dtype == np.uint8


def test_drawn_pictures_of_any_size(shared):
    assert Folder(shared / "golden").picture("synth_90x120").shape == (90, 120, 3)


def test_rows_are_paired_with_the_nearest():
    golden = np.array([[0.5, 1.0], [0.501, 1.0], [0.9, 2.0]])
    ours = np.array([[0.501, 1.0], [0.5, 1.0], [0.9, 1.0]])
    assert parity.pair(golden, ours).tolist() == [1, 0, -1]


def test_row_has_one_partner():
    assert parity.pair(np.array([[0.5], [0.501]]), np.array([[0.501]])).tolist() == [-1, 0]


def test_no_rows():
    assert parity.pair(np.zeros((0, 4)), np.zeros((3, 4))).tolist() == []
    assert parity.pair(np.zeros((2, 4)), np.zeros((0, 4))).tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("value", "unpaired", "exceeds"), [(0.1, 2, False), (0.2, 0, True), (0, 3, True), (np.nan, 0, True)]
)
def test_what_is_too_large(value, unpaired, exceeds):
    difference = parity.Difference("boxes", value, unpaired)
    assert difference.exceeds(tolerance=0.1, max_unpaired=2) == exceeds
