"""The page in a real browser, driven by a second page that holds it in a frame."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

from tests.quadrants import coloured
from tests.serving.conftest import running
from tests.test_serving import RED, RED_PICTURE, encoded

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=60000",
)

DRIVER = """<!doctype html><iframe id="frame" src="/" width="700" height="700"></iframe><pre id="out"></pre><script>
const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
const later = test => new Promise(done => { const look = () => test() ? done() : setTimeout(look, 50); look(); });
document.getElementById("frame").onload = async () => {
  const page = document.getElementById("frame").contentWindow, by = id => page.document.getElementById(id);
  const seen = {}, sides = ["x", "y", "width", "height"], looked = () => ({
    status: by("status").textContent,
    wrong: by("status").classList.contains("error"),
    found: [...by("found").children].map(each => each.textContent),
    boxes: [...by("boxes").querySelectorAll("rect:not(.under)")].map(
      each => sides.map(name => +each.getAttribute(name))),
    view: by("boxes").getAttribute("viewBox"),
    photo: [by("photo").naturalWidth, by("photo").naturalHeight],
  });
  const files = (text, name) => {
    const all = new page.DataTransfer();
    all.items.add(new page.File([bytes(text)], name));
    return all;
  };
  await later(() => by("status").textContent);
  seen.start = {status: by("status").textContent, title: by("title").textContent};
  by("file").files = files("RED", "red.png").files;
  by("file").dispatchEvent(new page.Event("change"));
  await later(() => by("boxes").children.length);
  seen.chosen = looked();
  by("threshold").value = "0.1";
  by("threshold").dispatchEvent(new page.Event("input"));
  seen.lower = looked();
  by("threshold").value = "0.5";
  page.dispatchEvent(new page.DragEvent("drop", {dataTransfer: files("TURNED", "turned.jpg"), cancelable: true}));
  await later(() => by("boxes").children.length && by("photo").naturalWidth == 40);
  seen.turned = looked();
  page.dispatchEvent(new page.DragEvent("drop", {dataTransfer: files("aGVsbG8=", "no.jpg"), cancelable: true}));
  await later(() => by("status").classList.contains("error"));
  seen.broken = looked();
  seen.focusable = [...page.document.querySelectorAll("input")].map(each => each.tabIndex);
  document.getElementById("out").textContent = JSON.stringify(seen);
};
</script>"""


@pytest.fixture(scope="module")
def seen(app, tmp_path_factory):
    """What the page showed, step by step."""
    if not BROWSER:
        pytest.skip("needs Chromium")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    turned = encoded(coloured(40, 60, top_left=RED, elsewhere=(0, 0, 0)), "jpeg", quality=100, exif=exif)
    pictures = {"RED": base64.b64encode(RED_PICTURE).decode(), "TURNED": base64.b64encode(turned).decode()}
    script = re.sub('"(RED|TURNED)"', lambda found: f'"{pictures[found[1]]}"', DRIVER)
    driven = Starlette(routes=[Route("/drive", lambda request: HTMLResponse(script)), Mount("/", app=app)])
    profile = tmp_path_factory.mktemp("profile")
    with running(driven) as url:
        command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", f"{url}/drive"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return json.loads(html.unescape(re.search(r'<pre id="out">(.*?)</pre>', shown, re.DOTALL)[1]))


def test_page_says_what_it_finds(seen):
    assert seen["start"] == {"status": "Finds: red, it's green", "title": "quadrants"}


def test_chosen_photo_is_answered_with_boxes(seen):
    assert seen["chosen"] == {
        "status": "1 object found, 3 with lower scores",
        "wrong": False,
        "found": ["red 1.00"],
        "boxes": [[0, 0, 30, 20]],
        "view": "0 0 60 40",
        "photo": [60, 40],
    }


def test_threshold_is_moved_without_asking_again(seen):
    assert seen["lower"]["found"] == ["red 1.00", *["it's green 0.20"] * 3]
    assert seen["lower"]["status"] == "4 objects found"


def test_dropped_photo_is_upright_for_browser_and_server(seen):
    assert (seen["turned"]["view"], seen["turned"]["photo"]) == ("0 0 40 60", [40, 60])
    assert seen["turned"]["boxes"] == [[20, 0, 20, 30]]


def test_error_is_told_in_words(seen):
    assert seen["broken"]["wrong"]
    assert seen["broken"]["status"] == (
        "The photo cannot be read as a picture (its content is of no known format); replace it by a JPEG, PNG, GIF or"
        " BMP file"
    )
    assert seen["broken"]["boxes"] == []


def test_all_is_reached_by_keyboard(seen):
    assert seen["focusable"] == [0, 0]
