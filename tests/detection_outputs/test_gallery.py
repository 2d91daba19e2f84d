import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from odml.detection_outputs import gallery
from odml.detection_outputs.gallery import Gallery
from odml.structures import Annotation
from tests.found import result, setup

CAT, DOG = ([2, 3, 12.5, 17], 0.91234567, 1), ([20, 0, 40, 20], 0.5, 2)


def page_of(folder: Path, results, **others) -> str:
    output = Gallery(setup(folder, title="<photos>", **others))
    for each in results:
        output.add(each, None if each.image is None else output.write(each))
    output.close()
    return (folder / "gallery.html").read_text()


def data_of(page: str) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def test_page_has_pictures_boxes_and_counts(tmp_path):
    page = page_of(tmp_path, [result("a.png", CAT, DOG), result("</script>.png", index=1)], score_threshold=0.25)
    first, second = data_of(page)["pictures"]
    assert (first["name"], first["width"], first["height"]) == ("a.png", 40, 20)
    assert first["boxes"] == [[1, 0.912, 2, 3, 12.5, 17], [2, 0.5, 20, 0, 40, 20]]
    assert first["picture"].startswith("data:image/jpeg;base64,")
    assert (second["name"], second["boxes"]) == ("</script>.png", [])
    assert [(each["name"], each["count"]) for each in data_of(page)["classes"]] == [("cat", 1), ("it's a/dog", 1)]
    assert "Detections in &lt;photos&gt;" in page
    assert "All 2 pictures are on this page." in page
    assert 'value="0.25"' in page


def test_page_asks_nothing_from_elsewhere(tmp_path):
    page = page_of(tmp_path, [result("a.png", CAT)])
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert re.findall(r"https?://[^\"]*", page) == ["http://www.w3.org/2000/svg"]


def test_page_of_many_pictures_is_bounded_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "SHOWN", 10)
    page = page_of(tmp_path, [result(f"{index:03}.png", CAT, index=index) for index in range(200)])
    shown = [int(picture["name"][:3]) for picture in data_of(page)["pictures"]]
    assert (len(shown), shown) == (10, sorted(shown))
    assert min(shown) < 60
    assert max(shown) > 140
    assert "This page has 10 of the 200 pictures, chosen by lot." in page


def test_ground_truth_is_shown_too(tmp_path):
    truth = Annotation(Path("a.png"), 40, 20, np.array([[0, 0, 9, 9]], np.float32), ("bird",))
    page = page_of(tmp_path, [result("a.png", CAT, truth=truth)])
    assert data_of(page)["pictures"][0]["truth"] == [["bird", 0, 0, 9, 9]]
    assert 'id="truth"' in page
    assert 'id="truth"' not in page_of(tmp_path, [result("a.png", CAT)])


def test_pictures_of_an_earlier_run_are_read_again_where_they_are(tmp_path):
    Image.new("RGB", (40, 20)).save(tmp_path / "here.png")
    earlier = [
        result(name, CAT, index=index, root=tmp_path, image=None) for index, name in enumerate(("here.png", "gone.png"))
    ]
    page = page_of(tmp_path, earlier)
    assert [picture["name"] for picture in data_of(page)["pictures"]] == ["here.png"]
    assert "This page has 1 of the 2 pictures" in page
