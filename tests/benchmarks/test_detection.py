import re
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import detection


def test_pictures_are_copied_into_parts_until_there_are_enough(tmp_path: Path):
    (tmp_path / "few").mkdir()
    for name in "ab":
        Image.new("RGB", (8, 8)).save(tmp_path / "few" / f"{name}.png")
    parts = detection.copy_pictures(tmp_path / "few", tmp_path / "many", count=23)
    names = [sorted(path.name for path in part.iterdir()) for part in parts]
    assert len(parts) == detection.PARTS
    assert {len(each) for each in names} == {2, 3}
    assert [name for each in names for name in each] == [f"{number:05}.png" for number in range(23)]


@pytest.mark.slow
def test_the_last_line_sums_up(graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for number in range(3):
        Image.new("RGB", (64, 48), (80 * number, 0, 0)).save(tmp_path / f"{number}.png")
    detection.main([str(tmp_path), "--graph", str(graph), "--count", "20"])
    number = r"\d+\.\d\d"
    assert re.fullmatch(
        rf"detection: ratio={number} drawn_ratio={number} cpu_ratio={number} images_per_second={number} "
        rf"tenth_mb={number} peak_mb={number}",
        capsys.readouterr().out.splitlines()[-1],
    )
