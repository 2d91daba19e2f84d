from pathlib import Path

import numpy as np
import pytest

from odml.errors import AnnotationError
from odml.inspection import ClassCount, Inspection, count_classes, inspect
from tests.voc_files import AnnotatedFolder, voc_object, voc_xml

BAD = voc_object(box=(30, 1, 12, 10))
ADVICE = "correct them, let fix=clip or fix=drop mend them, or leave them out with on_error=skip"
TURNED = "note: images/a.png: is turned upright by its EXIF orientation 6; its boxes must be of that view"


@pytest.fixture
def folder(tmp_path: Path) -> AnnotatedFolder:
    return AnnotatedFolder(tmp_path)


def look(folder: AnnotatedFolder) -> Inspection:
    return inspect(folder.images, folder.annotations)


def told(inspection: Inspection) -> list[str]:
    return [f"{problem.severity}: {problem}" for problem in inspection.problems]


def names(inspection: Inspection) -> list[str]:
    return [annotation.image.name for annotation in inspection.annotations]


def test_a_good_set_has_no_problems(folder: AnnotatedFolder):
    folder.add("a", voc_object("cat", box=(1, 2, 40, 20)), voc_object("dog", box=(3, 3, 5, 7)))
    inspection = look(folder)
    (annotation,) = inspection.annotations
    assert (annotation.image, annotation.width, annotation.height) == (folder.images / "a.png", 40, 30)
    np.testing.assert_array_equal(annotation.boxes, [[0, 1, 40, 20], [2, 2, 5, 7]])
    assert annotation.names == ("cat", "dog")
    assert inspection.problems == ()
    inspection.require_no_errors()


def test_a_picture_without_objects_is_background(folder: AnnotatedFolder):
    folder.add("a")
    (annotation,) = look(folder).annotations
    assert annotation.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("image", "xml", "stated"),
    [
        ("0042.JPG", "0042.xml", "0042.jpg"),
        ("0042.JPG", "0042.xml", "0042"),
        ("photo.v2.jpg", "x.xml", "photo.v2"),
        ("0042.png", "0042.xml", "0042.jpg"),
        ("0042.png", "0042.xml", "renamed.jpg"),
        ("0042.png", "0042.xml", ""),
        ("deep/er/0042.png", "0042.xml", "0042.png"),
        ("deep/0042.png", "deep/0042.xml", "0042.png"),
        ("0042.png", "0042.xml", "C:\\Users\\me\\0042.png"),
        ("Büro 1.png", "x.xml", "Bu\N{COMBINING DIAERESIS}ro 1.png"),
    ],
)
def test_the_picture_is_found_however_its_name_is_written(folder: AnnotatedFolder, image: str, xml: str, stated: str):
    folder.add_image(image)
    folder.add_xml(xml, voc_xml(voc_object(), filename=stated))
    inspection = look(folder)
    assert told(inspection) == []
    assert inspection.annotations[0].image == folder.images / image


def test_of_pictures_with_one_name_the_one_beside_the_annotation_wins(folder: AnnotatedFolder):
    for sub in ("a", "b"):
        folder.add_image(f"{sub}/1.png")
        folder.add_xml(f"{sub}/1.xml", voc_xml(voc_object(), filename="1.png"))
    inspection = look(folder)
    assert [annotation.image for annotation in inspection.annotations] == [
        folder.images / "a/1.png",
        folder.images / "b/1.png",
    ]
    assert inspection.problems == ()


def test_a_name_that_several_pictures_have_is_an_error(folder: AnnotatedFolder):
    folder.add_image("a/1.png")
    folder.add_image("b/1.png")
    folder.add_xml("1.xml", voc_xml(voc_object(), filename="1.png"))
    assert told(look(folder))[0] == (
        "error: annotations/1.xml: its picture 1.png may be any of images/a/1.png, images/b/1.png; "
        "write its folder in <filename>"
    )


def test_a_missing_picture_is_an_error(folder: AnnotatedFolder):
    folder.add("a", voc_object())
    folder.add_xml("b.xml", voc_xml(voc_object(), filename="b.jpg"))
    inspection = look(folder)
    assert told(inspection) == [
        f"error: annotations/b.xml: its picture b.jpg is not in {folder.images}; add it or remove the annotation"
    ]
    assert (names(inspection), inspection.dropped_files) == (["a.png"], 1)


def test_a_picture_that_cannot_be_decoded_is_an_error(folder: AnnotatedFolder):
    folder.add("a", voc_object())
    (folder.images / "a.png").write_bytes(b"no picture")
    inspection = look(folder)
    assert told(inspection) == [
        "error: images/a.png: cannot be read as a picture (its content is of no known format); "
        "replace it by a JPEG, PNG, GIF or BMP file"
    ]
    assert (len(inspection.annotations), inspection.dropped_files) == (0, 1)


def test_broken_xml_is_an_error_and_its_picture_is_not_called_unannotated(folder: AnnotatedFolder):
    folder.add_image("a.png")
    folder.add_xml("a.xml", "<annotation>")
    (problem,) = look(folder).problems
    assert str(problem).startswith("annotations/a.xml: cannot be read as XML (")


def test_two_annotations_of_one_picture_are_an_error_and_the_first_counts(folder: AnnotatedFolder):
    folder.add("a", voc_object("cat"))
    folder.add_xml("b.xml", voc_xml(voc_object("dog"), filename="a.png"))
    inspection = look(folder)
    assert told(inspection) == [
        "error: annotations/b.xml: annotates images/a.png, as annotations/a.xml does; remove one of them"
    ]
    assert inspection.annotations[0].names == ("cat",)
    assert inspection.dropped_files == 1


def test_a_bad_object_is_dropped_and_the_others_stay(folder: AnnotatedFolder):
    folder.add("a", voc_object("cat"), BAD, voc_object("dog"))
    inspection = look(folder)
    assert inspection.annotations[0].names == ("cat", "dog")
    assert (inspection.dropped_objects, inspection.dropped_files) == (1, 0)


def test_a_picture_that_loses_all_objects_does_not_become_background(folder: AnnotatedFolder):
    folder.add("a", BAD)
    folder.add("b", voc_object())
    inspection = look(folder)
    assert told(inspection) == [
        "error: annotations/a.xml: object 1: xmax 12 is not greater than xmin 30; remove or fix the box",
        "warning: annotations/a.xml: none of its objects can be used; its picture is left out, as it would wrongly "
        "count as background",
    ]
    assert (names(inspection), inspection.dropped_files) == (["b.png"], 1)


@pytest.mark.parametrize(
    ("box", "sides"),
    [
        ((50, 1, 60, 10), "xmin 50, xmax 60"),
        ((1, 1, 42, 10), "xmax 42"),
        ((-1, 1, 10, 10), "xmin -1"),
        ((1, 25, 10, 90.5), "ymax 90.5"),
        ((41, 1, 41.5, 10), "xmax 41.5"),
    ],
)
def test_a_box_outside_the_picture_is_an_error(folder: AnnotatedFolder, box: tuple[float, ...], sides: str):
    folder.add("a", voc_object(), voc_object(box=box))
    inspection = look(folder)
    assert told(inspection) == [
        f"error: annotations/a.xml: object 2: reaches outside the picture of 40x30 pixels ({sides}); "
        "correct or remove the box"
    ]
    assert len(inspection.annotations[0].names) == 1


def test_a_box_that_sticks_out_by_a_pixel_is_clipped_and_told(folder: AnnotatedFolder):
    folder.add("a", voc_object(box=(0, 0, 41, 20)))
    inspection = look(folder)
    np.testing.assert_array_equal(inspection.annotations[0].boxes, [[0, 0, 40, 20]])
    assert told(inspection) == [
        "warning: annotations/a.xml: object 1: reaches outside the picture of 40x30 pixels by one at most "
        "(xmin 0, ymin 0, xmax 41); the box is clipped"
    ]


def test_another_size_in_the_xml_is_told_and_the_picture_is_believed(folder: AnnotatedFolder):
    folder.add_image("a.png", size=(40, 30))
    folder.add_xml("a.xml", voc_xml(voc_object(box=(1, 1, 40, 20)), size=(20, 15)))
    inspection = look(folder)
    assert (inspection.annotations[0].width, inspection.annotations[0].height) == (40, 30)
    assert told(inspection) == [
        "warning: annotations/a.xml: states a picture of 20x15 pixels, but the picture has 40x30; its boxes are taken "
        "as they are, look at them"
    ]


def test_boxes_drawn_on_a_turned_picture_are_left_as_they_are(folder: AnnotatedFolder):
    folder.add_image("a.png", size=(40, 30), orientation=6)
    folder.add_xml("a.xml", voc_xml(voc_object(box=(1, 1, 30, 20)), size=(30, 40)))
    inspection = look(folder)
    assert (inspection.annotations[0].width, inspection.annotations[0].height) == (30, 40)
    np.testing.assert_array_equal(inspection.annotations[0].boxes, [[0, 0, 30, 20]])
    assert told(inspection) == [TURNED]


def test_boxes_drawn_on_the_stored_pixels_turn_with_the_picture(folder: AnnotatedFolder):
    folder.add_image("a.png", size=(40, 30), orientation=6)
    folder.add_xml("a.xml", voc_xml(voc_object(box=(1, 1, 40, 10)), size=(40, 30)))
    inspection = look(folder)
    assert (inspection.annotations[0].width, inspection.annotations[0].height) == (30, 40)
    np.testing.assert_array_equal(inspection.annotations[0].boxes, [[20, 0, 30, 40]])
    assert told(inspection) == [
        TURNED,
        "warning: annotations/a.xml: states a picture of 40x30 pixels, not turned upright by its EXIF orientation as "
        "viewers do; its boxes are turned with it",
    ]


def test_pictures_without_annotation_are_told_and_left_out(folder: AnnotatedFolder):
    folder.add("a", voc_object())
    folder.add_image("b.png")
    folder.add_image("c.png")
    inspection = look(folder)
    assert told(inspection) == [
        "warning: images: 2 of 3 pictures have no annotation file, first: images/b.png; they are left out (an "
        "annotation file without objects makes a picture background)"
    ]
    assert names(inspection) == ["a.png"]


def test_all_errors_are_raised_together(folder: AnnotatedFolder):
    folder.add("a", BAD, voc_object(box=(1, 1, 99, 10)))
    folder.add_xml("b.xml", voc_xml(filename="b.png"))
    with pytest.raises(AnnotationError) as error:
        look(folder).require_no_errors()
    assert str(error.value).splitlines() == [
        "annotations/a.xml: object 1: xmax 12 is not greater than xmin 30; remove or fix the box",
        "annotations/a.xml: object 2: reaches outside the picture of 40x30 pixels (xmax 99); correct or remove the box",
        f"annotations/b.xml: its picture b.png is not in {folder.images}; add it or remove the annotation",
        f"3 errors in 2 files; {ADVICE}",
    ]


def test_a_folder_without_annotations_is_an_error(folder: AnnotatedFolder):
    folder.add_image("a.png")
    with pytest.raises(AnnotationError) as error:
        look(folder)
    assert str(error.value) == (
        f"{folder.annotations}: holds no annotations that odml knows (Pascal VOC XML, COCO JSON or YOLO txt files); "
        "give their folder, or say what they are with format="
    )


def test_a_folder_without_pictures_is_an_error(folder: AnnotatedFolder):
    folder.add_xml("a.xml", voc_xml())
    with pytest.raises(AnnotationError) as error:
        look(folder)
    assert str(error.value) == f"{folder.images}: holds no picture; give the folder of the annotated pictures"


def test_classes_are_counted_by_picture_and_by_object(folder: AnnotatedFolder):
    folder.add("a", voc_object("dog"), voc_object("dog"), voc_object("cat"))
    folder.add("b", voc_object("dog"))
    assert count_classes(look(folder).annotations) == {
        "cat": ClassCount(images=1, objects=1),
        "dog": ClassCount(images=2, objects=3),
    }


def test_a_real_set_with_two_empty_boxes_lists_both(shared: Path):
    inspection = inspect(shared / "data/bccd/JPEGImages", shared / "data/bccd/Annotations")
    assert list(map(str, inspection.errors)) == [
        "Annotations/BloodImage_00338.xml: object 13: xmax 504 is not greater than xmin 504, ymax 337 is not "
        "greater than ymin 337; remove or fix the box",
        "Annotations/BloodImage_00343.xml: object 4: xmax 181 is not greater than xmin 181, ymax 329 is not "
        "greater than ymin 329; remove or fix the box",
    ]
    assert {problem.kind for problem in inspection.warnings} == {
        "box drawn twice",
        "picture that looks like another",
        "picture in two splits",
    }
    assert str(inspection.warnings[-1]) == (
        "JPEGImages/BloodImage_00037.jpg: is for val, but looks like JPEGImages/BloodImage_00038.jpg, which is for "
        "train; remove one"
    )
    assert len(inspection.warnings) == 9
    assert len(inspection.annotations) == 364
    assert {name: count.objects for name, count in count_classes(inspection.annotations).items()} == {
        "Platelets": 361,
        "RBC": 4153,
        "WBC": 372,
    }


def test_what_was_mended_is_told(folder: AnnotatedFolder, caplog: pytest.LogCaptureFixture):
    folder.add("a", voc_object(), BAD)
    (mended,) = inspect(folder.images, folder.annotations, fix="drop").mended
    assert caplog.messages[-1] == f"1 problem mended, first: {mended}"
