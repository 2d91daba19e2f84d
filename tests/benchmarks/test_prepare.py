import re
from pathlib import Path

import pytest

from benchmarks import prepare
from odml.inspection import inspect
from tests.voc_files import AnnotatedFolder, voc_object


@pytest.fixture
def folder(tmp_path: Path) -> AnnotatedFolder:
    (tmp_path / "few").mkdir()
    folder = AnnotatedFolder(tmp_path / "few")
    for name in "abc":
        folder.add(name, voc_object("cat"))
    folder.add_image("without.png")
    return folder


def test_a_set_is_copied_until_it_is_large_enough(folder: AnnotatedFolder, tmp_path: Path):
    prepare.copy_set(folder.images, folder.annotations, tmp_path / "many", count=7)
    inspection = inspect(tmp_path / "many" / "images", tmp_path / "many" / "annotations")
    assert inspection.errors == ()
    names = [each.image.relative_to(tmp_path / "many" / "images").as_posix() for each in inspection.annotations]
    assert names == [f"0000{turn}/{name}.png" for turn in (0, 1) for name in "abc"] + ["00002/a.png"]


@pytest.mark.slow
def test_the_last_line_sums_up(folder: AnnotatedFolder, capsys: pytest.CaptureFixture[str]):
    prepare.main([str(folder.images), str(folder.annotations), "--count", "20"])
    number = r"\d+\.\d\d"
    assert re.fullmatch(
        rf"prepare: images_per_second={number} copy_ratio={number} two_processes={number} (spark={number} )?"
        rf"cpu_ms={number} tenth_mb={number} whole_mb={number}",
        capsys.readouterr().out.splitlines()[-1],
    )
