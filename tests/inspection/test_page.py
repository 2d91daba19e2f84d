import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odml.inspection import Inspection, inspect
from odml.inspection.charts import draw_charts
from odml.inspection.page import write_page
from odml.inspection.problem_pictures import draw_problems
from odml.inspection.statistics import AnchorMatch, summarize
from tests.voc_files import AnnotatedFolder, voc_object, voc_xml

VERMILLION = (213, 94, 0)
CHARTS = ["classes", "objects_per_image", "box_sizes", "aspect_ratios", "box_places", "image_sizes"]


@pytest.fixture
def folder(tmp_path: Path) -> AnnotatedFolder:
    return AnnotatedFolder(tmp_path)


def look(folder: AnnotatedFolder) -> Inspection:
    return inspect(folder.images, folder.annotations)


def page_of(inspection: Inspection, anchors: AnchorMatch | None = None) -> str:
    statistics = summarize(inspection.annotations, digests=inspection.digests, anchors=anchors)
    return write_page(inspection, statistics, draw_charts(statistics), title="my <set>")


def test_page_has_problems_with_pictures_and_nothing_from_elsewhere(folder: AnnotatedFolder):
    folder.add(
        "a",
        voc_object("cat"),
        voc_object("&lt;b&gt;", box=(30, 1, 12, 10)),
        voc_object("&lt;i&gt;", box=(12, 1, 30, 10)),
    )
    page = page_of(look(folder))
    assert "xmax 12 is not greater than xmin 30; remove or fix the box" in page
    assert "Inspection of my &lt;set&gt;" in page
    assert "&lt;i&gt;" in page
    assert "<i>" not in page
    assert set(re.findall(r'src="([^"]{10})', page)) == {"data:image"}
    assert not re.search(r"https?://|<link|<script|@import", page)
    for encoded in re.findall(r"base64,([^\"]+)", page):
        Image.open(io.BytesIO(base64.b64decode(encoded))).load()
    assert len(re.findall("data:image/jpeg", page)) == 1
    assert len(re.findall("data:image/png", page)) == len(CHARTS)


def test_page_lists_the_first_problems_of_a_kind_and_draws_fewer(folder: AnnotatedFolder):
    folder.add("a", *[voc_object("cat", box=(30, 1, 12, number)) for number in range(2, 62)])
    folder.add("b", voc_object())
    page = page_of(look(folder))
    assert "The first 50 of 60; all are in problems.json" in page
    assert len(re.findall('<td class="number">50</td>', page)) == 1
    assert '<td class="number">51</td>' not in page
    assert len(re.findall('alt="annotations/a.xml: object', page)) == 4


def test_page_of_a_set_without_problems_or_objects(folder: AnnotatedFolder):
    folder.add("a")
    page = page_of(look(folder))
    assert "No problem found." in page
    assert "Nothing stands out." in page
    assert "data:image" not in page


def test_page_tells_of_the_anchors(folder: AnnotatedFolder):
    folder.add("a", voc_object("cat"))
    page = page_of(look(folder), AnchorMatch("tiny", 0.5, share=0.256, of_class={"cat": 0.256}))
    assert "<b>25.6 %</b><span>of objects have an anchor</span>" in page
    assert "one of tiny overlaps it by 0.5 or" in page


def test_charts_of_many_classes_with_any_name(folder: AnnotatedFolder):
    folder.add("a", *[voc_object(f"${number}$ _犬_", box=(1, 1, 5 + number % 30, 9)) for number in range(60)])
    inspection = look(folder)
    charts = draw_charts(summarize(inspection.annotations, digests=inspection.digests))
    assert list(charts) == CHARTS
    assert all(len(chart.convert("RGB").getcolors(chart.width * chart.height)) > 10 for chart in charts.values())


@pytest.mark.parametrize(
    "box",
    [(30, 1, 12, 10), (5, 5, 5, 5), (50, 1, 60, 10), (1, 1, 4000, 3000), (-9000, 1, -8000, 9), (3, 3, 3.5, 4)],
)
def test_a_bad_box_is_drawn_wherever_it_is(folder: AnnotatedFolder, box: tuple[float, ...]):
    folder.add("a", voc_object("cat", box=box), voc_object("dog"))
    (drawn,) = draw_problems(look(folder).problems, of_each_kind=4)
    assert max(drawn.picture.size) == 480
    assert (np.asarray(drawn.picture) == VERMILLION).all(axis=2).any()


def test_a_picture_that_cannot_be_decoded_is_not_drawn(folder: AnnotatedFolder):
    folder.add("a", voc_object())
    (folder.images / "a.png").write_bytes(b"no picture")
    assert draw_problems(look(folder).problems, of_each_kind=4) == []


def test_a_box_on_a_turned_picture_is_drawn_where_it_is_seen(folder: AnnotatedFolder):
    folder.add_image("a.png", size=(40, 30), orientation=6)
    folder.add_xml("a.xml", voc_xml(voc_object(box=(1, 1, 2, 30)), size=(40, 30)))
    (tiny,) = [problem for problem in look(folder).problems if problem.kind == "tiny box"]
    assert tiny.box == (0, 0, 30, 2)
