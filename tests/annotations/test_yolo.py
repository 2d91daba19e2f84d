from pathlib import Path

import pytest

from odml.annotations import yolo
from odml.annotations.contract import AnnotatedSet
from odml.annotations.draft import Draft, DraftObject
from odml.errors import AnnotationError
from odml.image_index import ImageIndex

NAMES = "names: [cat, dog]\n"


def fill(folder: Path, **files: str) -> None:
    """Write files; in a name "__" stands for "/" and "_" before the suffix for "."."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        head, _, suffix = path.name.rpartition("_")
        path = path.with_name(f"{head}.{suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def read(annotations: Path, images: Path | None = None) -> AnnotatedSet:
    images = images or annotations
    return yolo.read(annotations, ImageIndex(images, sorted(images.rglob("*.jpg"))))


def pairs(found: AnnotatedSet) -> dict[str, tuple[str, ...]]:
    return {entry.where: entry.read().image_names for entry in found.entries}


def draft_of(tmp_path: Path, text: str) -> Draft:
    fill(tmp_path, a_txt=text)
    return yolo.read_draft(tmp_path / "a.txt", "a.jpg", names={0: "cat", 2: "dog"}, where="labels/a.txt")


def test_lines_are_read(tmp_path: Path):
    item = DraftObject(
        number=1,
        name="dog",
        box=(0.375, 0.25, 0.625, 0.75),
        written=("left 0.375", "top 0.25", "right 0.625", "bottom 0.75"),
    )
    draft = draft_of(tmp_path, "\n2 0.5 0.5 0.25 0.5  \n\n")
    assert draft == Draft(("a.jpg",), objects=(item,), relative=True)
    assert draft.objects[0].line == 2


def test_an_empty_file_is_background(tmp_path: Path):
    assert draft_of(tmp_path, "") == Draft(("a.jpg",), relative=True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 .5 .5 .1 .1", "class 1 has no name; correct it, or add its name to the names"),
        ("1.5 .5 .5 .1 .1", "class 1.5 has no name; correct it, or add its name to the names"),
        ("-1 .5 .5 .1 .1", "class -1 has no name; correct it, or add its name to the names"),
        ("cat .5 .5 .1 .1", "'cat' is not a number; correct or remove it"),
        ("0 .5 nan .1 .1", "'nan' is not a number; correct or remove it"),
        (
            "0 .5 .5 .1",
            "has 4 columns, not the 5 of class x_center y_center width height; correct or remove it",
        ),
        (
            "0 .5 .5 .1 .1 .9",
            "has 6 columns, not the 5 of class x_center y_center width height; correct or remove it",
        ),
        (
            "0 .1 .1 .2 .1 .2 .2",
            "has 7 columns, not the 5 of class x_center y_center width height; polygons are not read; "
            "correct or remove it",
        ),
        ("0 1.5 .5 .1 -.1", "x_center 1.5, height -.1 is not within 0 to 1; correct or remove the box"),
        (
            "0 320 240 64 48",
            "x_center 320, y_center 240, width 64, height 48 is not within 0 to 1; correct or remove the box",
        ),
        ("0 .5 .5 0 .1", "width 0 is not greater than 0; remove or fix the box"),
    ],
)
def test_a_bad_line_is_a_problem_and_the_others_stay(tmp_path: Path, line: str, message: str):
    draft = draft_of(tmp_path, f"0 .5 .5 .1 .1\n\n{line}\n")
    assert [str(problem) for problem in draft.problems] == [f"labels/a.txt: object 2: line 3: {message}"]
    assert (draft.problems[0].line, [item.number for item in draft.objects]) == (3, [1])


@pytest.mark.parametrize(
    ("images", "annotations", "files"),
    [
        ("", "", {"images__a_jpg": "", "labels__a_txt": ""}),
        ("images", "labels", {"images__a_jpg": "", "labels__a_txt": ""}),
        ("images", "labels", {"images__in__a_jpg": "", "labels__in__a_txt": ""}),
        ("images", "", {"images__train__a_jpg": "", "labels__train__a_txt": ""}),
        ("", "", {"train__images__a_jpg": "", "train__labels__a_txt": ""}),
        ("", "", {"a_jpg": "", "a_txt": ""}),
        ("images", "labels", {"images__in__a_jpg": "", "labels__a_txt": ""}),
    ],
)
def test_a_picture_and_its_labels_are_paired(tmp_path: Path, images: str, annotations: str, files: dict[str, str]):
    fill(tmp_path, data_yaml=NAMES, **files)
    found = read(tmp_path / annotations, tmp_path / images)
    ((where, names),) = pairs(found).items()
    assert where.endswith("a.txt")
    assert (tmp_path / images / names[0]).is_file() or names == ("a",)
    assert found.problems == ()


def test_pictures_of_one_name_have_the_labels_of_their_own_folder(tmp_path: Path):
    fill(tmp_path, data_yaml=NAMES, x__a_jpg="", y__a_jpg="", x__a_txt="", y__a_txt="")
    assert pairs(read(tmp_path)) == {
        f"{tmp_path.name}/x/a.txt": ("x/a.jpg",),
        f"{tmp_path.name}/y/a.txt": ("y/a.jpg",),
    }


def test_pictures_without_labels_are_background_and_told(tmp_path: Path):
    fill(tmp_path, data_yaml=NAMES, images__a_jpg="", images__b_jpg="", labels__b_txt="0 .5 .5 .1 .1")
    found = read(tmp_path / "labels", tmp_path / "images")
    assert [(entry.where, len(entry.read().objects)) for entry in found.entries] == [
        ("images/a.jpg", 0),
        ("labels/b.txt", 1),
    ]
    assert [(problem.severity, str(problem)) for problem in found.problems] == [
        (
            "warning",
            "images: 1 of 2 pictures have no label file, first: images/a.jpg; they are background, as YOLO has it",
        )
    ]


def test_labels_without_a_picture_are_kept_and_notes_are_not(tmp_path: Path):
    fill(
        tmp_path,
        data_yaml=NAMES,
        a_jpg="",
        a_txt="",
        gone_txt="0 .5 .5 .1 .1",
        README_txt="Raccoons",
        classes_txt="cat",
    )
    assert pairs(read(tmp_path)) == {f"{tmp_path.name}/a.txt": ("a.jpg",), f"{tmp_path.name}/gone.txt": ("gone",)}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("data_yaml", NAMES),
        ("data_yaml", "names:\n  0: cat\n  1: dog\n"),
        ("mine_yml", NAMES),
        ("classes_txt", "cat\ndog\n\n"),
        ("obj_names", "cat\ndog\n"),
    ],
)
def test_names_of_classes_are_found(tmp_path: Path, file: str, text: str):
    fill(tmp_path, labels__a_jpg="", labels__a_txt="1 .5 .5 .1 .1", **{file: text})
    (entry,) = read(tmp_path / "labels").entries
    assert entry.read().objects[0].name == "dog"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nc: 2\n", "{}/data.yaml: has no names; add names: with the name of each class, in the numbers' order"),
        ("names: cat\n", "{0.name}/data.yaml: names is 'cat'; it must be a list, or a mapping of numbers to names"),
        ("names: {a: cat}\n", "{0.name}/data.yaml: names has 'a', which is no class number; count from 0"),
        ("names: [cat, no]\n", "{0.name}/data.yaml: name 1 is False, which is no text; put it into quotes"),
        ("names: [cat, '']\n", "{0.name}/data.yaml: name 1 is '', which is no text; put it into quotes"),
    ],
)
def test_names_that_cannot_be_read_are_an_error(tmp_path: Path, text: str, message: str):
    fill(tmp_path, data_yaml=text, a_jpg="", a_txt="")
    with pytest.raises(AnnotationError) as error:
        read(tmp_path)
    assert str(error.value) == message.format(tmp_path)


def test_broken_yaml_is_an_error_in_one_line(tmp_path: Path):
    fill(tmp_path, data_yaml="names: [cat\n", a_jpg="")
    with pytest.raises(AnnotationError, match=r"data.yaml: cannot be read as YAML \(.*\); repair the file$"):
        read(tmp_path)


def test_no_names_at_all_are_an_error(tmp_path: Path):
    fill(tmp_path / "set", a_jpg="", a_txt="")
    with pytest.raises(AnnotationError) as error:
        read(tmp_path / "set")
    assert str(error.value) == (
        f"{tmp_path}/set: has numbers for classes, and no data.yaml, classes.txt or obj.names says their names; "
        "add a data.yaml with names"
    )


def test_two_descriptions_are_an_error_and_one_can_be_given(tmp_path: Path):
    fill(tmp_path, one_yaml=NAMES, two_yaml="names: [x, y]", a_jpg="", a_txt="1 .5 .5 .1 .1")
    with pytest.raises(AnnotationError, match=r"one.yaml or .*two.yaml; give the right one as annotations=$"):
        read(tmp_path)
    (entry,) = read(tmp_path / "two.yaml", tmp_path).entries
    assert entry.read().objects[0].name == "y"


def test_another_number_of_names_is_told(tmp_path: Path):
    fill(tmp_path, data_yaml=NAMES + "nc: 3\n", a_jpg="", a_txt="")
    assert [str(each) for each in read(tmp_path).problems] == [
        f"{tmp_path.name}/data.yaml: nc is 3, but there are 2 names; the names are believed"
    ]


def sides(found: AnnotatedSet) -> dict[str, str | None]:
    return {entry.read().image_names[0]: entry.side for entry in found.entries}


THREE = {
    f"{side}__{kind}__{side}_{suffix}": ""
    for side in ("train", "valid", "test")
    for kind, suffix in (("images", "jpg"), ("labels", "txt"))
}


@pytest.mark.parametrize(
    ("description", "test"),
    [
        ("train: train/images\nval: valid/images\ntest: test/images\n", "test"),
        ("train: ../train/images\nval: ../valid/images\ntest: ../test/images\n", "test"),
        ("path: train/..\ntrain: train/images\nval: [valid/images]\n", None),
        ("", "test"),
    ],
)
def test_the_split_of_the_description_or_else_of_folders_is_followed(
    tmp_path: Path, description: str, test: str | None
):
    fill(tmp_path, data_yaml=NAMES + description, **THREE)
    found = read(tmp_path)
    assert sides(found) == {
        "train/images/train.jpg": "train",
        "valid/images/valid.jpg": "val",
        "test/images/test.jpg": test,
    }
    assert found.problems == ()


def test_the_split_may_be_list_files(tmp_path: Path):
    fill(
        tmp_path,
        data_yaml=NAMES + "train: train.txt\nval: val.txt\n",
        train_txt="./images/a.jpg\n",
        val_txt="./images/b.jpg\n",
        **{
            f"{folder}__{name}_{suffix}": ""
            for folder, suffix in (("images", "jpg"), ("labels", "txt"))
            for name in "abc"
        },
    )
    found = read(tmp_path)
    assert sides(found) == {"images/a.jpg": "train", "images/b.jpg": "val", "images/c.jpg": None}
    assert found.split_origin == f"{tmp_path.name}/data.yaml (train.txt for train, val.txt for val)"


def test_train_and_test_without_val_train_and_validate(tmp_path: Path):
    fill(tmp_path, data_yaml=NAMES, train__a_jpg="", test__b_jpg="")
    assert sides(read(tmp_path)) == {"train/a.jpg": "train", "test/b.jpg": "val"}


def test_one_side_alone_is_no_split(tmp_path: Path):
    fill(tmp_path, data_yaml=NAMES, train__a_jpg="", b_jpg="")
    found = read(tmp_path)
    assert (set(sides(found).values()), found.split_origin) == ({None}, "")


def test_the_same_pictures_on_both_sides_are_no_split(tmp_path: Path):
    fill(tmp_path, data_yaml=NAMES + "train: images\nval: images\n", images__a_jpg="", labels__a_txt="")
    found = read(tmp_path)
    assert found.split_origin == ""
    assert [str(each) for each in found.problems] == [
        f"{tmp_path.name}/data.yaml: train and val are the same pictures; they are no split"
    ]


def test_a_side_that_is_not_there_is_told(tmp_path: Path):
    fill(tmp_path, data_yaml=NAMES + "train: images\nval: nowhere\n", images__a_jpg="", labels__a_txt="")
    found = read(tmp_path)
    assert [(each.severity, str(each)) for each in found.problems] == [
        ("warning", f"{tmp_path.name}/data.yaml: val is nowhere, which is not there; correct it")
    ]
    assert found.split_origin == ""
