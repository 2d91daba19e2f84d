import dataclasses
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from odml.errors import AnnotationError
from odml.evaluation import evaluate
from odml.report import read_ground_truth, read_predictions, write_ground_truth, write_predictions
from tests.pets import CAT, PETS, annotation, detections, random_set


@pytest.mark.parametrize("seed", range(3))
def test_pycocotools_reads_the_files_and_gives_the_same_numbers(tmp_path, seed):
    annotations, found, label_map = random_set(seed)
    write_ground_truth(tmp_path / "truth.json", annotations, label_map)
    write_predictions(tmp_path / "found.json", found)
    truth = COCO(str(tmp_path / "truth.json"))
    scorer = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "bbox")
    scorer.evaluate()
    scorer.accumulate()
    scorer.summarize()
    metrics = evaluate(annotations, found, label_map).metrics
    assert list(metrics.values()) == pytest.approx(scorer.stats.tolist(), abs=1e-9)


def test_ground_truth_has_pictures_classes_and_flags(tmp_path):
    truth = dataclasses.replace(
        annotation(("cat", 1, 2, 11, 22), ("dog", 0, 0, 5, 5), ("dog", 5, 5, 9, 9), difficult=[1]),
        crowd=np.array([False, False, True]),
    )
    write_ground_truth(tmp_path / "truth.json", [truth, annotation()], PETS)
    written = json.loads((tmp_path / "truth.json").read_text())
    assert written["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert written["images"][1] == {"id": 2, "file_name": "photo.jpg", "width": 640, "height": 480}
    assert written["annotations"][0] == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [1.0, 2.0, 10.0, 20.0],
        "segmentation": [[1.0, 2.0, 11.0, 2.0, 11.0, 22.0, 1.0, 22.0]],
        "area": 200.0,
        "iscrowd": 0,
        "difficult": 0,
    }
    assert [(each["iscrowd"], each["difficult"]) for each in written["annotations"]] == [(0, 0), (1, 1), (1, 0)]


def test_predictions_keep_scores_as_they_are(tmp_path):
    write_predictions(tmp_path / "found.json", [detections(), detections((1, 0.1, 1, 2, 11, 22))])
    (row,) = json.loads((tmp_path / "found.json").read_text())
    assert row == {"image_id": 2, "category_id": 1, "bbox": [1.0, 2.0, 10.0, 20.0], "score": 0.1}


def test_nothing_at_all_is_an_empty_list(tmp_path):
    write_predictions(tmp_path / "found.json", [detections()])
    assert json.loads((tmp_path / "found.json").read_text()) == []
    write_ground_truth(tmp_path / "truth.json", [], CAT)
    assert json.loads((tmp_path / "truth.json").read_text())["annotations"] == []


def test_what_is_written_is_read_as_it_was(tmp_path):
    annotations, found, label_map = random_set(1)
    first, *others = annotations
    flags = np.arange(len(first.names)) == 1
    annotations = [dataclasses.replace(first, difficult=flags, crowd=np.roll(flags, 1)), *others]
    # A box that ends before it begins is written as one without width.
    boxes = [np.hstack([each.boxes[:, :2], np.maximum(each.boxes[:, :2], each.boxes[:, 2:])]) for each in found]
    found = [dataclasses.replace(each, boxes=of_each) for each, of_each in zip(found, boxes, strict=True)]
    write_ground_truth(tmp_path / "truth.json", annotations, label_map)
    write_predictions(tmp_path / "found.json", found)
    truths, names = read_ground_truth(tmp_path / "truth.json")
    assert names == label_map
    for read, written in zip(truths, annotations, strict=True):
        assert (read.image, read.width, read.height, read.names) == (
            *(written.image, written.width, written.height),
            written.names,
        )
        for name in ("boxes", "difficult", "crowd"):
            np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    for read, written in zip(read_predictions(tmp_path / "found.json", len(found)), found, strict=True):
        for name in ("boxes", "scores", "classes"):
            np.testing.assert_array_equal(getattr(read, name), getattr(written, name))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('[{"image_id": 3, "category_id": 1', "JSONDecodeError"),
        ('[{"image_id": 3, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]', "IndexError"),
        ('[{"image_id": 1}]', "KeyError"),
    ],
)
def test_damaged_file_is_an_error_that_names_it(tmp_path, content, why):
    path = tmp_path / "predictions.json"
    path.write_text(content)
    with pytest.raises(AnnotationError) as error:
        read_predictions(path, 2)
    message = str(error.value)
    assert message.startswith(f"{path}: is not what an evaluation writes ({why}(")
    assert message.endswith("); evaluate again")
