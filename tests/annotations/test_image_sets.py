from pathlib import Path

from odml.annotations import pascal_voc
from odml.annotations.contract import AnnotatedSet
from odml.image_index import ImageIndex


def fill_kit(kit: Path, names: str, **lists: str) -> None:
    """Make a development kit with an annotation file a letter, and lists of letters."""
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (kit / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        (kit / f"Annotations/{name}.xml").write_text("<annotation/>")
    for part, listed in lists.items():
        (kit / f"ImageSets/Main/{part}.txt").write_text("\n".join(listed) + "\n")


def read(annotations: Path) -> AnnotatedSet:
    return pascal_voc.read(annotations, ImageIndex(annotations, []))


def sides(found: AnnotatedSet) -> dict[str, str | None]:
    return {Path(entry.where).stem: entry.side for entry in found.entries}


def test_lists_beside_the_annotations_are_a_split(tmp_path: Path):
    kit = tmp_path / "kit"
    fill_kit(kit, "abcd", train="a", val="b", test="c", trainval="ab")
    found = read(kit / "Annotations")
    assert sides(found) == {"a": "train", "b": "val", "c": "test", "d": None}
    assert found.split_origin == "ImageSets/Main (train.txt for train, val.txt for val, test.txt for test)"
    assert found.problems == ()


def test_trainval_and_test_train_and_validate(tmp_path: Path):
    fill_kit(tmp_path, "ab", trainval="a", test="b")
    assert sides(read(tmp_path)) == {"a": "train", "b": "val"}


def test_a_list_of_one_side_is_no_split(tmp_path: Path):
    fill_kit(tmp_path, "ab", train="ab")
    found = read(tmp_path)
    assert (sides(found), found.split_origin, found.problems) == ({"a": None, "b": None}, "", ())


def test_kits_side_by_side_have_lists_of_their_own(tmp_path: Path):
    fill_kit(tmp_path / "VOC2007", "ab", trainval="a", test="b")
    fill_kit(tmp_path / "VOC2012", "cd", trainval="cd")
    found = read(tmp_path)
    assert sides(found) == {"a": "train", "b": "val", "c": "train", "d": "train"}
    assert found.entries[0].beside == (Path("VOC2007/Annotations"), Path("VOC2007/JPEGImages"))


def test_names_may_have_a_suffix_a_folder_or_the_flag_of_a_list_of_one_class(tmp_path: Path):
    fill_kit(tmp_path, "abc")
    (tmp_path / "Annotations/in").mkdir()
    (tmp_path / "Annotations/in/d.v2.xml").write_text("<annotation/>")
    (tmp_path / "ImageSets/Main/train.txt").write_text("a.jpg\nb  -1\n")
    (tmp_path / "ImageSets/Main/val.txt").write_text("c.xml\nin/d.v2\n")
    assert sides(read(tmp_path)) == {"a": "train", "b": "train", "c": "val", "d.v2": "val"}


def test_names_without_annotation_and_names_on_two_lists_are_told(tmp_path: Path):
    fill_kit(tmp_path, "ab", train="axy", val="ba")
    found = read(tmp_path)
    where = f"{tmp_path.name}/ImageSets/Main"
    assert [(problem.severity, str(problem)) for problem in found.problems] == [
        ("warning", f"{where}/train.txt: 2 names have no annotation file, first: line 2: x; they are left out"),
        ("error", f"{where}/val.txt: line 2: a is on the list for train too, and stays there; correct the lists"),
    ]
    assert sides(found) == {"a": "train", "b": "val"}
