from __future__ import annotations

import base64
import dataclasses
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from odml.comparison import Comparison, Evaluated, compare
from odml.report import Side, comparison_text, draw_disagreements, write_comparison
from tests.pets import PETS, annotation, detections

CAT, DOG = ("cat", 0, 0, 40, 40), ("dog", 50, 0, 90, 40)
NAMES = ("old <model>", "new")
SIDES = (Side("old <model>", {"step": "20"}), Side("new", {"step": "30"}))


def comparison() -> Comparison:
    photos = [dataclasses.replace(annotation(CAT, DOG), image=Path(f"{name}.jpg")) for name in ("a", "b")]
    both = detections((1, 0.9, *CAT[1:]), (2, 0.8, *DOG[1:]))
    first = Evaluated(photos, [both, both], PETS)
    return compare(first, Evaluated(photos, [both, detections((1, 0.9, *CAT[1:]))], PETS))


def page(compared: Comparison, *, settings=(), remarks=(), pictures=()) -> str:
    return write_comparison(compared, SIDES, settings=settings, remarks=remarks, pictures=pictures)


def test_picture_has_the_ground_truth_and_the_detections_of_both():
    (drawn,) = draw_disagreements(comparison(), [np.full((200, 200, 3), 90, np.uint8)], NAMES)
    assert (drawn.name, drawn.disagreement.only_first, drawn.disagreement.only_second) == ("b.jpg", 1, 0)
    assert drawn.picture.width == 3 * 200 + 4 * 11


def test_page_has_all_in_it_and_nothing_from_elsewhere():
    compared = comparison()
    pictures = draw_disagreements(compared, [np.full((200, 200, 3), 90, np.uint8)], NAMES)
    written = page(
        compared, settings=[("training.rate", "0.1", "0.2")], remarks=["Both are <alike>."], pictures=pictures
    )
    assert "<h1>old &lt;model&gt; and new</h1>" in written
    assert "Both are &lt;alike&gt;." in written
    assert '<td class="file">training.rate</td><td class="setting">0.1</td><td class="setting">0.2</td>' in written
    (source,) = re.findall(r'src="([^"]*)"', written)
    assert Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).size == pictures[0].picture.size
    assert not re.findall(r'(?:href|src)="(?!data:)', written)
    assert "old &lt;model&gt;: 0 missed, 0 wrong, 1 detected by it alone;" in " ".join(written.split())


def test_loss_is_marked_as_one_also_where_less_is_better():
    rows = dict(re.findall(r"<tr><td>([^<]*)</td>.*?(\w*)\">[-+][.\d]+</td>", page(comparison()), re.DOTALL))
    assert rows["mAP"] == "down"
    assert rows["tide/missed"] == "down"


def test_figures_without_a_value_are_not_there():
    written = page(comparison())
    assert "mAP large" not in written
    assert "-1" not in re.sub(r"data:image[^\"]*", "", written.partition("<body>")[2])


def test_text_has_figures_classes_and_settings():
    text = comparison_text(comparison(), ("old", "new"), [("rate", "0.1", "0.2")])
    rows = [line.split() for line in text.splitlines()]
    assert rows[0] == ["old", "new", "difference"]
    assert ["mAP", "1.000", "0.752", "-0.248"] in rows
    assert ["AP", "dog", "1.000", "0.505", "-0.495"] in rows
    assert rows[-2:] == [["setting", "old", "new"], ["rate", "0.1", "0.2"]]
