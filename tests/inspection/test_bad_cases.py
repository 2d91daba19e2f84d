"""What people really have: small sets with one thing wrong in each, and the exact lines that tell of it.

tests/test_inspection.py and tests/annotations have what concerns one part alone; here all of it meets real files.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from odml.inspection import Inspection, inspect
from tests.voc_files import AnnotatedFolder, voc_object, voc_xml

NOT_BACKGROUND = "none of its objects can be used; its picture is left out, as it would wrongly count as background"
LOOKS = "replace it by a JPEG, PNG, GIF or BMP file"


class Case(NamedTuple):
    """``make`` adds what is wrong to a good set; ``told`` is every line, ``fixed`` those with fix=clip if others."""

    name: str
    make: Callable[[AnnotatedFolder], object]
    told: list[str]
    fixed: list[str] | None = None


def picture(size: tuple[int, int] = (40, 30), mode: str = "RGB", *, seed: int = 1) -> Image.Image:
    """Draw noise, which is no other picture's."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def add_picture(name: str, data: bytes) -> Callable[[AnnotatedFolder], None]:
    """Add a picture of these bytes, and an annotation that is as it should be."""

    def make(folder: AnnotatedFolder) -> None:
        (folder.images / name).write_bytes(data)
        folder.add_xml("bad.xml", voc_xml(voc_object(), filename=name))

    return make


def add_objects(*objects: str) -> Callable[[AnnotatedFolder], None]:
    return lambda folder: folder.add("bad", voc_object("cat", box=(20, 15, 30, 25)), *objects)


def add_annotation(text: str) -> Callable[[AnnotatedFolder], None]:
    def make(folder: AnnotatedFolder) -> None:
        folder.add_image("bad.png")
        folder.add_xml("bad.xml", text)

    return make


def add_animation(folder: AnnotatedFolder) -> None:
    frames = [picture(mode="P", seed=seed) for seed in (1, 2, 3)]
    frames[0].save(folder.images / "bad.gif", save_all=True, append_images=frames[1:])
    folder.add_xml("bad.xml", voc_xml(voc_object(), filename="bad.gif"))


def add_same_picture(folder: AnnotatedFolder) -> None:
    """Store the pixels of good.png again, as another file of another format."""
    Image.open(folder.images / "good.png").save(folder.images / "same.bmp")
    folder.add_xml("same.xml", voc_xml(voc_object(), filename="same.bmp"))


def add_resized_picture(folder: AnnotatedFolder) -> None:
    """Store a picture twice, once smaller and compressed."""
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    large = Image.fromarray(pixels).resize((400, 300), Image.Resampling.BICUBIC)
    add_picture("bad.png", encoded(large, "PNG"))(folder)
    large.resize((160, 120)).save(folder.images / "copy.jpg", quality=50)
    folder.add_xml("copy.xml", voc_xml(voc_object(), filename="copy.jpg"))


def add_split_with_resized_picture(folder: AnnotatedFolder) -> None:
    add_resized_picture(folder)
    add_split(folder, train="good\ncopy\n", val="bad\n")


def add_second_annotation(folder: AnnotatedFolder) -> None:
    folder.add_xml("second.xml", voc_xml(voc_object(), filename="good.png"))


def add_clear_picture(folder: AnnotatedFolder) -> None:
    image = picture()
    image.putalpha(100)
    add_picture("bad.png", encoded(image, "PNG"))(folder)


def add_split_with_leak(folder: AnnotatedFolder) -> None:
    """Bring a split whose validation shows what training shows."""
    add_same_picture(folder)
    add_split(folder, train="good\n", val="same\n")


def add_split(folder: AnnotatedFolder, **lists: str) -> None:
    sets = folder.annotations.parent / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    for side, names in lists.items():
        (sets / f"{side}.txt").write_text(names)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


JPEG = encoded(picture(), "JPEG")
BAD, BAD_PICTURE = "annotations/bad.xml", "images/bad.png"
COPY = f"warning: images/copy.jpg: looks like {BAD_PICTURE}, resized or compressed anew perhaps; remove one if it is"
UNKNOWN = f"cannot be read as a picture (its content is of no known format); {LOOKS}"

CASES = [
    # Boxes
    Case(
        "inverted box",
        add_objects(voc_object(box=(30, 1, 12, 10))),
        [f"error: {BAD}: object 2: xmax 12 is not greater than xmin 30; remove or fix the box"],
        [f"mended: {BAD}: object 2: xmax 12 is not greater than xmin 30; the object is dropped"],
    ),
    Case(
        "box without area",
        add_objects(voc_object(box=(5, 5, 9, 5))),
        [f"error: {BAD}: object 2: ymax 5 is not greater than ymin 5; remove or fix the box"],
        [f"mended: {BAD}: object 2: ymax 5 is not greater than ymin 5; the object is dropped"],
    ),
    Case(
        "box of no numbers",
        add_objects(voc_object(box=("nan", 1, 9, "left"))),
        [f"error: {BAD}: object 2: xmin 'nan' is not a number, ymax 'left' is not a number; remove or fix the box"],
        [f"mended: {BAD}: object 2: xmin 'nan' is not a number, ymax 'left' is not a number; the object is dropped"],
    ),
    Case(
        "box that sticks out",
        add_objects(voc_object(box=(10, -20, 18, 12))),
        [f"error: {BAD}: object 2: reaches outside the picture of 40x30 pixels (ymin -20); correct or remove the box"],
        [f"mended: {BAD}: object 2: reaches outside the picture of 40x30 pixels (ymin -20); the box is clipped"],
    ),
    Case(
        "box beside the picture",
        add_objects(voc_object(box=(50, 1, 60, 9))),
        [
            f"error: {BAD}: object 2: reaches outside the picture of 40x30 pixels (xmin 50, xmax 60); correct or "
            "remove the box"
        ],
        [
            f"mended: {BAD}: object 2: reaches outside the picture of 40x30 pixels (xmin 50, xmax 60); the object is "
            "dropped"
        ],
    ),
    Case(
        "box out by a pixel",
        add_objects(voc_object(box=(0, 1, 9, 9))),
        [
            f"warning: {BAD}: object 2: reaches outside the picture of 40x30 pixels by one at most (xmin 0); the box "
            "is clipped"
        ],
    ),
    Case(
        "tiny box",
        add_objects(voc_object(box=(3, 3, 4, 20))),
        [f"warning: {BAD}: object 2: its box is only 2x18 pixels; redraw or remove it"],
    ),
    Case(
        "box as large as the picture",
        add_objects(voc_object(box=(1, 1, 40, 30))),
        [f"warning: {BAD}: object 2: its box is the whole picture; make sure that this is one object"],
    ),
    Case(
        "object drawn twice",
        add_objects(voc_object("cat", box=(20, 15, 30, 25))),
        [
            f"warning: {BAD}: object 2: its box is nearly that of object 1 (IoU 1.00), of the same class; remove one "
            "of them"
        ],
        [
            f"mended: {BAD}: object 2: its box is nearly that of object 1 (IoU 1.00), of the same class; the object "
            "is dropped"
        ],
    ),
    Case(
        "two classes for one box",
        add_objects(voc_object("dog", box=(20, 15, 30, 25.5))),
        [
            f"warning: {BAD}: object 2: its box is nearly that of object 1 (IoU 0.96), but its class is dog, not cat; "
            "decide on one"
        ],
    ),
    # Objects
    Case(
        "object without a class",
        add_objects(voc_object(" ")),
        [f"error: {BAD}: object 2: has no <name>; name its class or remove it"],
        [f"mended: {BAD}: object 2: has no <name>; the object is dropped"],
    ),
    Case(
        "object without a box",
        add_objects("<object><name>cat</name></object>"),
        [f"error: {BAD}: object 2: has no <bndbox>; draw its box or remove it"],
        [f"mended: {BAD}: object 2: has no <bndbox>; the object is dropped"],
    ),
    Case(
        "class in another case",
        add_objects(voc_object("Cat")),
        [
            f"warning: {BAD}: class 'Cat' differs from 'cat' only in case or spaces (1 and 2 objects); spell it alike, "
            "or they are two classes"
        ],
        [
            f"mended: {BAD}: class 'Cat' differs from 'cat' only in case or spaces (1 and 2 objects); it is read as "
            "'cat'"
        ],
    ),
    Case(
        "class with other spaces",
        lambda folder: folder.add("bad", voc_object("red  panda"), voc_object("red_panda", box=(20, 15, 30, 25))),
        [
            f"warning: {BAD}: class 'red_panda' differs from 'red  panda' only in case or spaces (1 and 1 objects); "
            "spell it alike, or they are two classes"
        ],
        [
            f"mended: {BAD}: class 'red_panda' differs from 'red  panda' only in case or spaces (1 and 1 objects); it "
            "is read as 'red  panda'"
        ],
    ),
    Case(
        "no object that can be used",
        lambda folder: folder.add("bad", voc_object(box=(5, 5, 9, 5))),
        [
            f"error: {BAD}: object 1: ymax 5 is not greater than ymin 5; remove or fix the box",
            f"warning: {BAD}: {NOT_BACKGROUND}",
        ],
        [
            f"mended: {BAD}: object 1: ymax 5 is not greater than ymin 5; the object is dropped",
            f"warning: {BAD}: {NOT_BACKGROUND}",
        ],
    ),
    # Annotation files
    Case(
        "broken XML",
        add_annotation("<annotation><object>"),
        [
            f"error: {BAD}: cannot be read as XML (Premature end of data in tag object line 1, line 1, column 21); "
            "repair or remove the file"
        ],
    ),
    Case(
        "empty annotation file",
        add_annotation(""),
        [f"error: {BAD}: cannot be read as XML (Document is empty, line 1, column 1); repair or remove the file"],
    ),
    Case(
        "another kind of XML",
        add_annotation("<svg/>"),
        [f"error: {BAD}: begins with <svg>, not <annotation>; give Pascal VOC files only"],
    ),
    Case(
        "annotation of another size",
        lambda folder: (
            folder.add_image("bad.png"),
            folder.add_xml("bad.xml", voc_xml(voc_object(), filename="bad.png", size=(400, 300))),
        ),
        [
            f"warning: {BAD}: states a picture of 400x300 pixels, but the picture has 40x30; its boxes are taken as "
            "they are, look at them"
        ],
    ),
    Case(
        "two annotations of one picture",
        add_second_annotation,
        ["error: annotations/second.xml: annotates images/good.png, as annotations/good.xml does; remove one of them"],
    ),
    # Pictures that are not there
    Case(
        "missing picture",
        lambda folder: folder.add_xml("bad.xml", voc_xml(voc_object(), filename="bad.jpg")),
        [f"error: {BAD}: its picture bad.jpg is not in IMAGES; add it or remove the annotation"],
    ),
    Case(
        "picture of a kind that is not read",
        add_picture("bad.heic", b"heic"),
        [f"error: {BAD}: its picture images/bad.heic is of a kind that odml does not read; save it as JPEG or PNG"],
    ),
    Case(
        "picture without an annotation",
        lambda folder: folder.add_image("bad.png"),
        [
            "warning: images: 1 of 2 pictures have no annotation file, first: images/bad.png; they are left out (an "
            "annotation file without objects makes a picture background)"
        ],
    ),
    Case(
        "name that two pictures have",
        lambda folder: (
            folder.add_image("a/bad.png"),
            folder.add_image("b/bad.png"),
            folder.add_xml("bad.xml", voc_xml(voc_object(), filename="bad.png")),
        ),
        [
            f"error: {BAD}: its picture bad.png may be any of images/a/bad.png, images/b/bad.png; write its folder in "
            "<filename>",
            "warning: images: 2 of 3 pictures have no annotation file, first: images/a/bad.png; they are left out (an "
            "annotation file without objects makes a picture background)",
        ],
    ),
    # Pictures that cannot be decoded
    Case(
        "zero bytes",
        add_picture("bad.png", b""),
        [f"error: {BAD_PICTURE}: cannot be read as a picture (it is empty); {LOOKS}"],
    ),
    Case("text for a picture", add_picture("bad.png", b"<html>404</html>"), [f"error: {BAD_PICTURE}: {UNKNOWN}"]),
    Case(
        "truncated JPEG",
        add_picture("bad.jpg", encoded(picture((200, 150)), "JPEG", quality=95)[:2000]),
        [
            "error: images/bad.jpg: cannot be read as a picture (image file is truncated (N bytes not processed)); "
            + LOOKS
        ],
    ),
    Case(
        "picture cut off in its header",
        add_picture("bad.jpg", JPEG[:20]),
        [f"error: images/bad.jpg: {UNKNOWN}"],
    ),
    # Pictures that are odd
    Case(
        "wrong suffix",
        add_picture("bad.png", JPEG),
        [f"note: {BAD_PICTURE}: holds a JPEG picture, not what .png stands for; it is read as what it is"],
    ),
    Case(
        "grey JPEG",
        add_picture("bad.jpg", encoded(picture(mode="L"), "JPEG")),
        ["note: images/bad.jpg: is grey; it is read as RGB with three equal channels"],
    ),
    Case(
        "CMYK JPEG",
        add_picture("bad.jpg", encoded(picture(mode="CMYK"), "JPEG")),
        ["note: images/bad.jpg: is stored for print (CMYK); its colours are converted without a profile, look at them"],
    ),
    Case(
        "16-bit PNG",
        add_picture("bad.png", encoded(Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50), "PNG")),
        [
            f"note: {BAD_PICTURE}: has 16 bits a channel; the upper 8 are used",
            f"note: {BAD_PICTURE}: is grey; it is read as RGB with three equal channels",
        ],
    ),
    Case(
        "transparent PNG",
        add_clear_picture,
        [f"note: {BAD_PICTURE}: has transparent parts; they are shown on white"],
    ),
    Case(
        "animated GIF",
        add_animation,
        ["warning: images/bad.gif: is an animation of 3 frames; only the first is used, save the others as pictures"],
    ),
    Case(
        "picture turned by EXIF",
        add_picture("bad.jpg", encoded(picture(), "JPEG", exif=turned(8))),
        ["note: images/bad.jpg: is turned upright by its EXIF orientation 8; its boxes must be of that view"],
    ),
    Case(
        "huge picture",
        add_picture("bad.png", encoded(Image.new("P", (8000, 5500)), "PNG", compress_level=1)),
        [
            f"warning: {BAD_PICTURE}: has 8000x5500 pixels, of which a network sees some hundred a side; cut it into "
            "tiles"
        ],
    ),
    # Sets
    Case(
        "one picture under two names",
        add_same_picture,
        ["warning: images/same.bmp: shows the same as images/good.png; remove one, it counts double"],
    ),
    Case(
        "picture in two splits",
        add_split_with_leak,
        [
            "warning: images/same.bmp: shows the same as images/good.png; remove one, it counts double",
            "warning: images/same.bmp: is for val, but shows the same as images/good.png, which is for train; remove "
            "one",
        ],
    ),
    Case(
        "one picture in two sizes",
        add_resized_picture,
        [COPY],
    ),
    Case(
        "picture in two sizes in two splits",
        add_split_with_resized_picture,
        [
            COPY,
            f"warning: {BAD_PICTURE}: is for val, but looks like images/copy.jpg, which is for train; remove one",
        ],
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> AnnotatedFolder:
    """A set of one good picture."""
    folder = AnnotatedFolder(tmp_path)
    folder.add("good", voc_object("cat", box=(2, 3, 20, 25)))
    return folder


def told(inspection: Inspection, folder: AnnotatedFolder) -> list[str]:
    """Give all lines, but for what differs from folder to folder and from one JPEG library to another."""
    lines = [f"{problem.severity}: {problem}".replace(str(folder.images), "IMAGES") for problem in inspection.problems]
    return [re.sub(r"\d+ bytes not processed", "N bytes not processed", line) for line in lines]


def contents(folder: AnnotatedFolder) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.images.parent.rglob("*") if path.is_file()}


def test_there_are_enough_cases():
    assert len({case.name for case in CASES}) >= 30


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_case_is_told(case: Case, folder: AnnotatedFolder):
    case.make(folder)
    assert told(inspect(folder.images, folder.annotations), folder) == case.told


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_can_be_mended_is_mended_and_no_file_changed(case: Case, folder: AnnotatedFolder):
    case.make(folder)
    before = contents(folder)
    inspection = inspect(folder.images, folder.annotations, fix="clip")
    assert told(inspection, folder) == (case.told if case.fixed is None else case.fixed)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("fix", "boxes"), [("none", []), ("clip", [[9, 0, 18, 12]]), ("drop", [])], ids=["none", "clip", "drop"]
)
def test_a_box_that_sticks_out_is_clipped_or_dropped(folder: AnnotatedFolder, fix: str, boxes: list[list[int]]):
    folder.add("a", voc_object(box=(10, -20, 18, 12)), voc_object("dog"))
    annotation = inspect(folder.images, folder.annotations, fix=fix).annotations[0]  # type: ignore[arg-type]
    np.testing.assert_array_equal(annotation.boxes, [*boxes, [0, 0, 10, 10]])


def test_mended_objects_are_counted_as_dropped(folder: AnnotatedFolder):
    folder.add("a", voc_object(box=(30, 1, 12, 10)), voc_object("dog"), voc_object("dog"))
    inspection = inspect(folder.images, folder.annotations, fix="drop")
    assert (inspection.dropped_objects, inspection.dropped_files) == (2, 0)
    assert [annotation.names for annotation in inspection.annotations] == [("dog",), ("cat",)]
    inspection.require_no_errors()


def test_spellings_get_the_usual_name_when_mended(folder: AnnotatedFolder):
    folder.add("a", voc_object("CAT"))
    inspection = inspect(folder.images, folder.annotations, fix="drop")
    assert {name for annotation in inspection.annotations for name in annotation.names} == {"CAT"}


def test_a_problem_says_its_line_and_where_to_look(folder: AnnotatedFolder):
    folder.add_image("bad.png")
    folder.add_xml(
        "bad.xml", voc_xml("\n", voc_object("cat"), "\n\n", voc_object(box=(30, 2, 12, 10)), filename="bad.png")
    )
    (problem,) = inspect(folder.images, folder.annotations).problems
    assert (problem.line, problem.object, problem.kind) == (4, 2, "box without area")
    assert (problem.image, problem.box) == (folder.images / "bad.png", (29.0, 1.0, 12.0, 10.0))


def test_a_coco_file_has_the_same_checks(folder: AnnotatedFolder):
    (folder.annotations / "good.xml").unlink()
    content = {
        "images": [{"id": 1, "file_name": "good.png", "width": 40, "height": 30}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "Cat "}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 10, 10]},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [20, 10, 1, 9]},
        ],
    }
    (folder.annotations / "all.json").write_text(json.dumps(content))
    inspection = inspect(folder.images, folder.annotations)
    assert {problem.kind for problem in inspection.warnings} == {"tiny box", "class with two spellings"}


def test_a_coco_file_is_told_of_in_its_own_words(folder: AnnotatedFolder):
    (folder.annotations / "good.xml").unlink()
    for name in ("a/1.png", "b/1.png"):
        folder.add_image(name)
    content = {"images": [{"id": 1, "file_name": "1.png"}], "categories": [], "annotations": []}
    (folder.annotations / "all.json").write_text(json.dumps(content))
    assert told(inspect(folder.images, folder.annotations), folder) == [
        "error: annotations/all.json: its picture 1.png may be any of images/a/1.png, images/b/1.png; write its folder "
        "in file_name",
        'warning: images: 3 of 3 pictures are not in "images" of a COCO file, first: images/a/1.png; they are left out '
        "(one that is there without objects is background)",
    ]
