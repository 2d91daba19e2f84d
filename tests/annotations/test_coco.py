import json
from pathlib import Path
from typing import Any

import pytest

from odml.annotations import coco
from odml.annotations.contract import AnnotatedSet
from odml.annotations.draft import Draft, DraftObject
from odml.errors import AnnotationError
from odml.image_index import ImageIndex
from tests.coco_yolo_files import coco as content
from tests.coco_yolo_files import coco_object


def write(folder: Path, data: Any, name: str = "set.json") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def read(annotations: Path) -> AnnotatedSet:
    return coco.read(annotations, ImageIndex(annotations, []))


def read_one(tmp_path: Path, data: Any) -> AnnotatedSet:
    return read(write(tmp_path, data))


def drafts(found: AnnotatedSet) -> list[Draft]:
    return [entry.read() for entry in found.entries]


def told(found: AnnotatedSet) -> list[str]:
    return [
        str(problem) for problem in (*found.problems, *(each for draft in drafts(found) for each in draft.problems))
    ]


def test_an_object_is_read(tmp_path: Path):
    found = read_one(tmp_path, content(coco_object(bbox=[1.5, 2, 10, 20], category_id=20)))
    item = DraftObject(
        number=1, name="dog", box=(1.5, 2.0, 11.5, 22.0), written=("x 1.5", "y 2", "x + width 11.5", "y + height 22")
    )
    assert drafts(found) == [Draft(("a.png",), size=(40, 30), objects=(item,))]
    assert found.entries[0].where == "set.json"
    assert found.problems == ()


def test_objects_are_numbered_as_they_stand_in_the_file_and_go_to_their_pictures(tmp_path: Path):
    images = [{"id": "b", "file_name": "b.png"}, {"id": 3, "file_name": "sub\\c.png"}, {"id": 4, "file_name": "d.png"}]
    objects = [coco_object(image_id=3), coco_object(image_id="b"), coco_object(image_id=3)]
    found = drafts(read_one(tmp_path, content(*objects, images=images)))
    assert [(draft.image_names, [item.number for item in draft.objects]) for draft in found] == [
        (("b.png",), [2]),
        (("sub/c.png",), [1, 3]),
        (("d.png",), []),
    ]
    assert found[0].size is None


def test_a_crowd_is_known_as_one(tmp_path: Path):
    (draft,) = drafts(read_one(tmp_path, content(coco_object(iscrowd=1), coco_object())))
    assert [item.crowd for item in draft.objects] == [True, False]


def test_attributes_of_labelling_tools_are_read(tmp_path: Path):
    attributes = {"difficult": True, "truncated": True, "occluded": False}
    (draft,) = drafts(read_one(tmp_path, content(coco_object(attributes=attributes), coco_object(attributes=[]))))
    assert [(item.difficult, item.truncated) for item in draft.objects] == [(True, True), (False, False)]


def test_categories_of_one_name_are_one_class(tmp_path: Path):
    data = content(coco_object(category_id=10), coco_object(category_id=20), names=["cat", "cat"])
    assert [item.name for item in drafts(read_one(tmp_path, data))[0].objects] == ["cat", "cat"]


@pytest.mark.parametrize(
    ("each", "message"),
    [
        (coco_object(bbox=[5, 5, 0, 3]), "has a box whose width 0 is not greater than 0; remove or fix the box"),
        (
            coco_object(bbox=[5, 5, -1, -2.5]),
            "has a box whose width -1 is not greater than 0, height -2.5 is not greater than 0; remove or fix the box",
        ),
        (coco_object(bbox=[]), "has no bbox; write it or remove the object"),
        (
            coco_object(bbox=None, segmentation=[[1, 1, 5, 5, 1, 5]]),
            "has a polygon or mask but no bbox; write its bbox",
        ),
        (
            coco_object(bbox=[1, 2, 3]),
            "has the bbox [1, 2, 3], which is not four numbers x, y, width, height; correct it",
        ),
        (
            coco_object(bbox=[1, 2, float("nan"), "4"]),
            'has the bbox [1, 2, NaN, "4"], which is not four numbers x, y, width, height; correct it',
        ),
        (coco_object(category_id=7), 'has the category_id 7, which "categories" does not have; correct it'),
        (coco_object(category_id=None), 'has the category_id None, which "categories" does not have; correct it'),
        (coco_object(category_id=[10]), 'has the category_id [10], which "categories" does not have; correct it'),
    ],
)
def test_a_bad_object_is_a_problem_and_the_others_stay(tmp_path: Path, each: dict[str, Any], message: str):
    found = read_one(tmp_path, content(coco_object(), each))
    assert told(found) == [f"{found.entries[0].where}: object 2: id 99 of a.png {message}"]
    assert [item.number for item in drafts(found)[0].objects] == [1]


def test_an_object_may_have_two_problems(tmp_path: Path):
    found = read_one(tmp_path, content(coco_object(bbox=None, category_id=7)))
    assert [problem.object for problem in drafts(found)[0].problems] == [1, 1]


@pytest.mark.parametrize(("image_id", "shown"), [(8, "8"), (None, "None"), ("7", "'7'")])
def test_an_object_of_an_unknown_picture_is_a_problem(tmp_path: Path, image_id: object, shown: str):
    (problem,) = read_one(tmp_path, content(coco_object(image_id=image_id))).problems
    assert (problem.object, problem.severity) == (1, "error")
    assert problem.message == f'id 99 has the image_id {shown}, which "images" does not have; correct or remove it'


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("categories", {"id": 30}, 'number 3 of "categories": has no id or no name; add both'),
        ("categories", {"name": "x"}, 'number 3 of "categories": has no id or no name; add both'),
        ("categories", "cat", 'number 3 of "categories": has no id or no name; add both'),
        (
            "categories",
            {"id": 10, "name": "x"},
            'number 3 of "categories": has the id 10 of another category; give it one of its own',
        ),
        ("images", {"id": 8}, 'number 2 of "images": has no id or no file_name; add both'),
        (
            "images",
            {"id": 7, "file_name": "b.png"},
            'number 2 of "images": has the id 7 of another picture; give it one of its own',
        ),
        (
            "annotations",
            "box",
            'object 1: has the image_id None, which "images" does not have; correct or remove it',
        ),
    ],
)
def test_a_bad_record_is_a_problem(tmp_path: Path, key: str, value: object, message: str):
    data = content()
    data[key].append(value)
    found = read_one(tmp_path, data)
    assert [str(problem).partition(": ")[2] for problem in found.problems] == [message]
    assert len(found.entries) == 1


def test_a_truncated_file_is_a_problem_with_its_line(tmp_path: Path):
    found = read_one(tmp_path, '{"images": [\n{"id": 1,')
    message = "cannot be read as JSON (Expecting property name enclosed in double quotes, column 10)"
    assert [str(each).partition(": ")[2] for each in found.problems] == [
        f"line 2: {message}; repair or remove the file"
    ]
    assert found.entries == ()


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("[]", "images"),
        ('{"images": [], "annotations": []}', "categories"),
        ('{"images": [], "annotations": 3, "categories": []}', "annotations"),
    ],
)
def test_a_file_without_the_lists_of_coco_is_a_problem(tmp_path: Path, text: str, missing: str):
    (problem,) = read_one(tmp_path, text).problems
    assert problem.message == f'has no list "{missing}"; give COCO files of object detection only'


def test_a_folder_without_json_is_an_error(tmp_path: Path):
    with pytest.raises(AnnotationError) as error:
        read(tmp_path)
    assert str(error.value) == f"{tmp_path}: holds no JSON file; give a COCO file or the folder of some"


def test_files_named_for_the_sides_are_a_split(tmp_path: Path):
    folder = tmp_path / "annotations"
    for name in ["instances_train2017.json", "instances_val2017.json", "captions_train2017.json"]:
        write(folder, content(), name)
    write(folder, {"version": 1}, "notes.json")
    found = read(folder)
    assert [entry.side for entry in found.entries] == ["train", "val"]
    assert found.split_origin == (
        "annotations/instances_train2017.json for train, annotations/instances_val2017.json for val"
    )
    assert found.entries[1].beside[2:4] == (Path("val2017"), Path("val"))


def test_folders_named_for_the_sides_are_a_split(tmp_path: Path):
    for name in ["train", "valid", "test"]:
        write(tmp_path, content(), f"{name}/_annotations.coco.json")
    found = read(tmp_path)
    assert [(entry.beside[0], entry.side) for entry in found.entries] == [
        (Path("test"), "test"),
        (Path("train"), "train"),
        (Path("valid"), "val"),
    ]


def test_a_file_for_none_of_the_sides_is_passed_over(tmp_path: Path):
    for name in ["train.json", "val.json", "trainval.json"]:
        write(tmp_path, content(), name)
    found = read(tmp_path)
    assert [entry.side for entry in found.entries] == ["train", "val"]
    assert found.split_origin.endswith(f"{tmp_path.name}/trainval.json passed over")


def test_one_file_is_no_split(tmp_path: Path):
    write(tmp_path, content(), "instances_train.json")
    found = read(tmp_path)
    assert (found.split_origin, found.entries[0].side) == ("", None)
