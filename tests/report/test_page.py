import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odml.evaluation import Analysis, analyse
from odml.report import Speed, draw_charts, draw_worst, write_page
from odml.structures import Annotation, LabelMap
from tests.pets import PETS, annotation, detections, random_set

CHARTS = [
    "precision_recall",
    "f1_score",
    "precision_score",
    "recall_score",
    "confusion_matrix",
    "errors",
    "calibration",
]
CAT, DOG = ("cat", 0, 0, 40, 40), ("dog", 50, 0, 90, 40)


def page_of(truths, found, label_map, speed=None) -> str:
    analysis = analyse(truths, found, label_map)
    images = (np.full((60, 100, 3), 90, np.uint8) for _ in analysis.worst)
    worst = draw_worst(analysis, images, truths, found)
    return write_page(analysis, draw_charts(analysis), worst, title="my <set>", facts={"step": "20"}, speed=speed)


def test_page_has_all_in_it_and_nothing_from_elsewhere():
    found = detections((1, 0.75, 0, 0, 40, 40), (1, 0.9, 50, 0, 90, 40))
    page = page_of([annotation(CAT, DOG)], [found], PETS, Speed(50.0, 20.0, 30.0, 8))
    assert "Evaluation of my &lt;set&gt;" in page
    assert "step 20" in page
    assert "<b>50</b><span>pictures a second</span>" in page
    assert set(re.findall(r'src="([^"]{10})', page)) == {"data:image"}
    assert not re.search(r"https?://|<link|<script|@import", page)
    for encoded in re.findall(r"base64,([^\"]+)", page):
        Image.open(io.BytesIO(base64.b64decode(encoded))).load()
    assert re.findall('data:image/png[^>]+alt="([a-z_0-9]+)"', page) == CHARTS
    assert "<b>photo.jpg</b><br>1 missed, 1 wrong" in page


def test_page_of_a_class_without_objects_says_na_and_never_minus_one():
    page = page_of([annotation(CAT)], [detections((1, 0.9, 0, 0, 40, 40))], PETS)
    row = re.search(r"<td>dog</td>(.*?)</tr>", page, re.DOTALL)
    assert re.findall("<td[^>]*>([^<]*)</td>", row[1]) == ["0"] + ["n/a"] * 7
    assert re.search('mAP small</td><td class="number">n/a</td>', page)
    assert "-1" not in re.sub(r'base64,[^"]+|<style>.*?</style>', "", page, flags=re.DOTALL)


@pytest.mark.parametrize("found", [(), ((1, 0.9, 0, 0, 9, 9),)], ids=["nothing", "something"])
def test_page_of_a_set_without_objects(found):
    page = page_of([annotation()], [detections(*found)], PETS)
    assert "There is nothing to find in these pictures" in page
    assert "n/a: there are no objects." in page


def test_page_of_a_network_that_finds_nothing():
    page = page_of([annotation(CAT)], [detections()], PETS)
    assert "No object was found" in page
    assert "Numbers of classes with fewer than 20 objects are mostly chance: cat (1), dog (0)." in page


def advice(analysis: Analysis) -> str:
    return write_page(analysis, {}, [], title="x", facts={}, speed=None)


def test_page_names_the_best_threshold_and_the_costliest_errors():
    truth = annotation(CAT, ("cat", 50, 0, 90, 40))
    page = advice(analyse([truth], [detections((1, 0.75, 0, 0, 40, 40))], PETS))
    assert "A score threshold of 0.75 balances misses and false alarms best: 100% of" in page
    assert "what is then detected is right, and 50% of the objects are found" in page
    assert "missed costs most (an object that no detection comes near): 0.495 of mAP@.5, 100% of all losses." in page


def test_scores_that_are_no_chances_are_told():
    page = advice(analyse([annotation(CAT)], [detections((1, 0.5, 0, 0, 40, 40))], PETS))
    assert "Scores are not chances here: they are off by 50% on average." in page


@pytest.mark.parametrize("classes", [2, 9, 60])
def test_charts_of_many_classes_with_any_name(classes):
    annotations, found, label_map = random_set(0, images=10, classes=classes)
    names = {name: f"_{number}$ 犬_" for number, name in enumerate(label_map.names)}
    annotations = [
        Annotation(each.image, each.width, each.height, each.boxes, tuple(names[name] for name in each.names))
        for each in annotations
    ]
    charts = draw_charts(analyse(annotations, found, LabelMap(tuple(names.values()))))
    assert list(charts) == CHARTS
    assert all(len(chart.getcolors(chart.width * chart.height)) > 10 for chart in charts.values())


def test_worst_pictures_are_drawn_worst_first_from_pictures_in_their_order():
    truths = [
        Annotation(Path(f"{number}.jpg"), 100, 60, np.float32([CAT[1:]] * number).reshape(-1, 4), ("cat",) * number)
        for number in range(3)
    ]
    analysis = analyse(truths, [detections()] * 3, PETS)
    images = iter([np.full((60, 100, 3), 10, np.uint8), np.full((60, 100, 3), 250, np.uint8)])
    drawn = draw_worst(analysis, images, truths, [detections()] * 3)
    assert [(each.name, each.missed, each.wrong) for each in drawn] == [("2.jpg", 2, 0), ("1.jpg", 1, 0)]
    assert drawn[0].picture.getpixel((drawn[0].picture.width // 4, drawn[0].picture.height - 40))[0] > 200
    assert max(drawn[0].picture.size) <= 900
