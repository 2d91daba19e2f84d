from pathlib import Path

import pytest

from odml.annotations.draft import Draft, DraftObject, Problem
from odml.annotations.pascal_voc import find_files, read_draft
from tests.voc_files import voc_object, voc_xml


def read(tmp_path: Path, text: str | bytes) -> Draft:
    path = tmp_path / "0042.xml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_draft(path, where="Annotations/0042.xml")


def messages(draft: Draft) -> list[str]:
    return [str(problem) for problem in draft.problems]


def test_a_complete_file_is_read(tmp_path: Path):
    more = "<pose>Left</pose><truncated>1</truncated><difficult>1</difficult>"
    draft = read(tmp_path, voc_xml(voc_object("dog", box=(1, 2, 30, 40), more=more), filename="a.jpg", size=(50, 60)))
    item = DraftObject(
        number=1,
        name="dog",
        box=(0.0, 1.0, 30.0, 40.0),
        written=("xmin 1", "ymin 2", "xmax 30", "ymax 40"),
        difficult=True,
        truncated=True,
        pose="Left",
    )
    assert draft == Draft(("a.jpg", "0042"), size=(50, 60), objects=(item,))


def test_missing_flags_and_pose_have_defaults(tmp_path: Path):
    (item,) = read(tmp_path, voc_xml(voc_object())).objects
    assert (item.difficult, item.truncated, item.pose) == (False, False, "Unspecified")


@pytest.mark.parametrize(("text", "expected"), [("1", True), ("0", False), ("true", True), ("", False), ("no", False)])
def test_flags_are_read_as_tools_write_them(tmp_path: Path, text: str, expected: bool):
    (item,) = read(tmp_path, voc_xml(voc_object(more=f"<difficult>{text}</difficult>"))).objects
    assert item.difficult is expected


def test_float_coordinates_are_read(tmp_path: Path):
    (item,) = read(tmp_path, voc_xml(voc_object(box=("1.5", "2.25", "30.5", "4e1")))).objects
    assert item.box == (0.5, 1.25, 30.5, 40.0)


def test_parts_inside_an_object_are_no_objects(tmp_path: Path):
    part = "<part><name>head</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></part>"
    element = voc_object("person", box=(1, 1, 10, 10))
    first = element.replace("<name>person", part + "<name>person")
    last = element.replace("</object>", part + "</object>")
    draft = read(tmp_path, voc_xml(first, last))
    assert [(item.name, item.box) for item in draft.objects] == [("person", (0.0, 0.0, 10.0, 10.0))] * 2


@pytest.mark.parametrize("name", ["traffic light", "a=b", "#1", "Straße", "犬", "a 'b' \"c\""])
def test_class_names_are_kept_as_they_are(tmp_path: Path, name: str):
    (item,) = read(tmp_path, voc_xml(voc_object(f"\n  {name} "))).objects
    assert item.name == name


def test_a_file_may_be_in_another_encoding(tmp_path: Path):
    text = '<?xml version="1.0" encoding="iso-8859-1"?>' + voc_xml(voc_object("Bär"))
    (item,) = read(tmp_path, text.encode("latin-1")).objects
    assert item.name == "Bär"


def test_no_objects_are_no_problem(tmp_path: Path):
    assert read(tmp_path, voc_xml()) == Draft(("0042",))


def test_a_windows_path_becomes_one_with_slashes(tmp_path: Path):
    assert read(tmp_path, voc_xml(filename="C:\\photos\\a.jpg")).image_names == ("C:/photos/a.jpg", "0042")


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((30, 1, 12, 10), "xmax 12 is not greater than xmin 30; remove or fix the box"),
        ((1, 7, 9, 7), "ymax 7 is not greater than ymin 7; remove or fix the box"),
        (
            (5, 5, 5, 5),
            "xmax 5 is not greater than xmin 5, ymax 5 is not greater than ymin 5; remove or fix the box",
        ),
        (("nan", 1, 9, 9), "xmin 'nan' is not a number; remove or fix the box"),
        ((1, 1, "inf", 9), "xmax 'inf' is not a number; remove or fix the box"),
        ((1, "x", 9, ""), "ymin 'x' is not a number, ymax '' is not a number; remove or fix the box"),
    ],
)
def test_a_bad_box_is_a_problem_of_its_object(tmp_path: Path, box: tuple[object, ...], message: str):
    draft = read(tmp_path, voc_xml(voc_object(), voc_object(), voc_object(box=box)))
    assert messages(draft) == [f"Annotations/0042.xml: object 3: {message}"]
    assert [item.number for item in draft.objects] == [1, 2]


def test_an_object_without_name_and_box_is_two_problems(tmp_path: Path):
    assert messages(read(tmp_path, voc_xml("<object><name> </name></object>"))) == [
        "Annotations/0042.xml: object 1: has no <name>; name its class or remove it",
        "Annotations/0042.xml: object 1: has no <bndbox>; draw its box or remove it",
    ]


def test_broken_xml_is_a_problem_of_the_file(tmp_path: Path):
    draft = read(tmp_path, "<annotation><object>")
    reason = "Premature end of data in tag object line 1, line 1, column 21"
    message = f"cannot be read as XML ({reason}); repair or remove the file"
    assert draft == Draft(("0042",), problems=(Problem("Annotations/0042.xml", None, message),))


def test_an_empty_file_is_a_problem(tmp_path: Path):
    assert messages(read(tmp_path, "")) == [
        "Annotations/0042.xml: cannot be read as XML (Document is empty, line 1, column 1); repair or remove the file"
    ]


def test_another_kind_of_xml_is_a_problem(tmp_path: Path):
    assert messages(read(tmp_path, "<svg/>")) == [
        "Annotations/0042.xml: begins with <svg>, not <annotation>; give Pascal VOC files only"
    ]


def test_entities_are_not_expanded(tmp_path: Path):
    (tmp_path / "secret").write_text("cat")
    doctype = f'<!DOCTYPE annotation [<!ENTITY leak SYSTEM "file://{tmp_path}/secret">]>'
    assert messages(read(tmp_path, doctype + voc_xml(voc_object("&leak;")))) == [
        "Annotations/0042.xml: object 1: has no <name>; name its class or remove it"
    ]


def test_files_are_found_in_nested_folders_whatever_their_case(tmp_path: Path):
    for name in ["b.XML", "in/a.xml", "c.txt", ".d.xml"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_files(tmp_path)) == [tmp_path / "b.XML", tmp_path / "in/a.xml"]


def test_a_real_file_with_parts_is_read(shared: Path):
    draft = read_draft(shared / "data/voc_sample/annotations/2007_000027.xml", where="2007_000027.xml")
    assert draft.image_names == ("2007_000027.jpg", "2007_000027")
    assert [(item.name, item.box) for item in draft.objects] == [("person", (173.0, 100.0, 349.0, 351.0))]
