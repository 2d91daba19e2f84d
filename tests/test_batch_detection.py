import errno
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odml.batch_detection import TOLD, detect_all
from odml.detection_outputs import OUTPUTS, Output, Result, Setup
from odml.detection_outputs.json_lines import read_results
from odml.detection_outputs.unreadable import Unreadable
from odml.detector import Detector
from odml.errors import OutputError
from odml.selection import Selection
from odml.sources import FileNames, find_sources
from odml.structures import Annotation
from odml.tiling import Tiling
from tests.found import rows_of
from tests.quadrants import LABEL_MAP, Quadrants, coloured

RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)
ALL = Selection()


class Kept(Output):
    """Remembers what it is given."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Setup(folder, LABEL_MAP, FileNames([])))
        self.written: set[str] = set()
        self.results: list[Result] = []
        self.closed = 0

    def write(self, result: Result) -> str:
        self.written.add(result.name)
        return result.name

    def add(self, result: Result, written: str | None) -> None:
        assert written == (result.name if result.image is not None else None)
        self.results.append(result)

    def has(self, result: Result) -> bool:
        return result.name != "lost.png"

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    Image.fromarray(coloured(100, 200, top_left=RED, elsewhere=BLACK)).save(folder / "red.png")
    Image.fromarray(coloured(120, 100, top_left=GREEN, elsewhere=BLACK)).save(folder / "more" / "green.gif")
    Image.fromarray(coloured(100, 100, top_left=BLACK, elsewhere=BLACK)).save(folder / "nothing.bmp")
    return folder


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "out")


def detect(photos: Path, *outputs: Output, selection: Selection = ALL, **others):
    detector = Detector(Quadrants().detect, LABEL_MAP)
    return detect_all(detector, find_sources(str(photos)), outputs, selection=selection, **others)


def test_what_was_found_goes_to_the_outputs_in_order(photos, kept):
    outcome = detect(photos, kept)
    assert (outcome.images, outcome.detections, dict(outcome.classes), outcome.unreadable) == (3, 2, {1: 1, 2: 1}, 0)
    assert [(each.index, each.name, each.width, each.height) for each in kept.results] == [
        (0, "more/green.gif", 100, 120),
        (1, "nothing.bmp", 100, 100),
        (2, "red.png", 200, 100),
    ]
    assert [rows_of(each.detections) for each in kept.results] == [
        [([0, 0, 50, 60], 1.0, 2)],
        [],
        [([0, 0, 100, 50], 1.0, 1)],
    ]
    assert kept.results[2].where == str(photos / "red.png")
    assert (kept.closed, len(kept.written)) == (1, 3)


def test_only_what_is_selected_is_passed_on(photos, kept):
    assert detect(photos, kept, selection=Selection(classes=(2,))).detections == 1
    assert [len(each.detections) for each in kept.results] == [1, 0, 0]


def test_many_pictures_of_some_sizes_keep_their_order(photos, kept):
    for number in range(40):
        size = (96 + number // 5 % 2, 96)
        Image.fromarray(coloured(*size, top_left=RED, elsewhere=BLACK)).save(photos / f"{number:02}.png")
    detect(photos, kept)
    names = [each.name for each in kept.results]
    assert (len(names), names) == (43, sorted(names))
    assert [each.index for each in kept.results] == list(range(43))
    assert all(rows_of(each.detections)[0][0][2] == 48 for each in kept.results[:40])


def test_no_more_than_a_few_pictures_are_in_memory(photos, kept, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    for number in range(60):
        shutil.copy(photos / "red.png", photos / f"{number:02}.png")
    ahead, read, added = [0], [0], kept.add

    def add(result, written):
        ahead[0] = max(ahead[0], read[0] - len(kept.results))
        added(result, written)

    def wanted(name, width, height):
        read[0] += 1

    monkeypatch.setattr(kept, "add", add)
    detect(photos, kept, truth=wanted)
    assert read[0] == 63
    assert ahead[0] <= 12


def test_unreadable_pictures_are_told_and_the_others_are_done(photos, kept, tmp_path):
    for number in range(TOLD + 5):
        (photos / f"broken{number:02}.jpg").write_bytes(b"no picture")
    unreadable = Unreadable(Setup(tmp_path / "out", LABEL_MAP, FileNames([])))
    outcome = detect(photos, kept, unreadable)
    assert (outcome.images, outcome.unreadable, len(outcome.reasons)) == (3, TOLD + 5, TOLD)
    assert outcome.reasons[0].startswith(f"{photos}/broken00.jpg: cannot be read as a picture")
    lines = (tmp_path / "out" / "unreadable.txt").read_text().splitlines()
    assert (len(lines), lines[0]) == (TOLD + 5, outcome.reasons[0])


def test_tiles_find_what_is_too_small_in_the_whole(photos, kept):
    image = np.zeros((200, 200, 3), np.uint8)
    image[100:150, 100:150] = RED  # a quarter of the last quadrant
    for path in list(photos.rglob("*.*")):
        path.unlink()
    Image.fromarray(image).save(photos / "small.png")
    detect(photos, kept, tiling=Tiling(columns=2, rows=2, overlap=0.0))
    assert [rows_of(each.detections) for each in kept.results] == [[([100, 100, 150, 150], 1.0, 1)]]
    assert detect(photos, Kept(photos)).detections == 0


def test_ground_truth_is_that_of_the_picture(photos, kept):
    known = Annotation(Path("red.png"), 200, 100)
    detect(photos, kept, truth=lambda path, width, height: known if path.name == "red.png" else None)
    assert [each.truth for each in kept.results] == [None, None, known]


def test_pictures_of_an_earlier_run_come_first_and_are_not_detected_in_again(photos, kept, tmp_path):
    names = FileNames(find_sources(str(photos)).sources)
    detect(photos, OUTPUTS["jsonl"](Setup(tmp_path / "out", LABEL_MAP, names)))
    (photos / "red.png").rename(photos / "zed.png")
    outcome = detect(photos, kept, existing=read_results(tmp_path / "out"))
    assert (outcome.images, outcome.existing, outcome.detections) == (1, 3, 3)
    assert [(each.index, each.name) for each in kept.results] == [
        (0, "more/green.gif"),
        (1, "nothing.bmp"),
        (2, "red.png"),
        (3, "zed.png"),
    ]
    assert rows_of(kept.results[2].detections) == [([0, 0, 100, 50], 1.0, 1)]
    assert kept.written == {"zed.png"}


def test_picture_whose_files_are_gone_is_detected_in_again(photos, kept, tmp_path):
    (photos / "red.png").rename(photos / "lost.png")
    detect(photos, OUTPUTS["jsonl"](Setup(tmp_path / "out", LABEL_MAP, FileNames([]))))
    outcome = detect(photos, kept, existing=read_results(tmp_path / "out"))
    assert (outcome.images, outcome.existing) == (1, 2)
    assert kept.written == {"lost.png"}


def test_after_a_request_to_stop_no_picture_is_begun_and_what_was_is_written(photos, kept):
    for number in range(50):
        shutil.copy(photos / "red.png", photos / f"z{number:02}.png")
    stop: list[bool] = []
    write = kept.write
    kept.write = lambda result: stop.append(True) or write(result)  # type: ignore[method-assign]
    outcome = detect(photos, kept, stop=stop)
    assert 0 < outcome.images < 40
    assert len(kept.results) == len(kept.written) == outcome.images
    assert kept.closed == 1


@pytest.mark.parametrize("step", ["write", "add", "close"])
def test_full_disk_ends_it_and_closes_all_outputs(photos, kept, step, monkeypatch, tmp_path):
    class Full(Kept):
        pass

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device", "out/a.jpg")

    monkeypatch.setattr(Full, step, fail)
    with pytest.raises(OutputError) as raised:
        detect(photos, kept, Full(tmp_path))
    assert str(raised.value) == (
        "out/a.jpg: cannot be written (No space left on device); make room, or choose another folder"
    )
    assert kept.closed == 1
    assert threading.active_count() < 20
