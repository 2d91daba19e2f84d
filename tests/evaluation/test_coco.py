import copy
import dataclasses

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from odml.evaluation import ClassResult, Evaluation, evaluate
from odml.structures import LabelMap
from tests.pets import CAT, PETS, annotation, detections, random_set

METRICS = [
    "coco/mAP",
    "coco/mAP_50",
    "coco/mAP_75",
    "coco/mAP_small",
    "coco/mAP_medium",
    "coco/mAP_large",
    "coco/AR_1",
    "coco/AR_10",
    "coco/AR_100",
    "coco/AR_small",
    "coco/AR_medium",
    "coco/AR_large",
]


def plain_cocoeval(annotations, found, label_map):
    """Score a set without difficult objects as pycocotools' own documentation does."""
    truth, results = [], []
    for image_id, (each, detected) in enumerate(zip(annotations, found, strict=True), start=1):
        for name, (x1, y1, x2, y2) in zip(each.names, each.boxes.tolist(), strict=True):
            row = {"image_id": image_id, "category_id": label_map.id_of(name), "bbox": [x1, y1, x2 - x1, y2 - y1]}
            truth.append(row | {"id": len(truth) + 1, "area": (x2 - x1) * (y2 - y1), "iscrowd": 0})
        rows = zip(detected.classes.tolist(), detected.scores.tolist(), detected.boxes.tolist(), strict=True)
        for class_id, score, (x1, y1, x2, y2) in rows:
            box = [x1, y1, max(x2 - x1, 0), max(y2 - y1, 0)]
            results.append({"image_id": image_id, "category_id": class_id, "score": score, "bbox": box})
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": number} for number in range(1, len(annotations) + 1)],
        "annotations": truth,
        "categories": [{"id": number} for number in range(1, len(label_map) + 1)],
    }
    coco.createIndex()
    scorer = COCOeval(coco, coco.loadRes(results), "bbox")
    scorer.evaluate()
    scorer.accumulate()
    scorer.summarize()
    return scorer


@pytest.mark.parametrize("seed", range(5))
def test_numbers_are_those_of_pycocotools(seed):
    annotations, found, label_map = random_set(seed)
    expected = plain_cocoeval(annotations, found, label_map)
    evaluation = evaluate(annotations, found, label_map)
    assert list(evaluation.metrics) == METRICS
    assert list(evaluation.metrics.values()) == pytest.approx(expected.stats.tolist(), abs=1e-9)
    for index, result in enumerate(evaluation.per_class[:-1]):
        curves = expected.eval["precision"][:, :, index, 0, 2]
        assert dataclasses.astuple(result)[2:] == pytest.approx((curves.mean(), curves[0].mean()), abs=1e-9)
    assert evaluation.per_class[-1] == ClassResult("class 4", 0, None, None)


def test_objects_found_exactly_score_one():
    boxes = [(100, 100, 200, 200), (50, 50, 100, 100), (25, 25, 50, 50)]  # large, medium, small
    annotations = [annotation(("cat", *box)) for box in boxes]
    found = [detections((1, 0.8, *box)) for box in boxes]
    evaluation = evaluate(annotations, found, CAT)
    assert evaluation.metrics == pytest.approx(dict.fromkeys(METRICS, 1.0))
    assert evaluation.per_class == (ClassResult("cat", 3, pytest.approx(1.0), pytest.approx(1.0)),)


# The TF Object Detection API's own cases.
def test_objects_of_three_classes_found_exactly_score_one():
    # metrics/coco_evaluation_test, as its estimator has it.
    annotations = [
        annotation(("a", 100, 100, 200, 200)),
        annotation(("c", 50, 50, 100, 100)),
        annotation(("b", 25, 25, 50, 50)),
    ]
    found = [
        detections((1, 0.8, 100, 100, 200, 200)),
        detections((3, 0.7, 50, 50, 100, 100)),
        detections((2, 0.9, 25, 25, 50, 50)),
    ]
    evaluation = evaluate(annotations, found, LabelMap(("a", "b", "c")))
    assert evaluation.metrics == pytest.approx(dict.fromkeys(METRICS, 1.0))


def test_crowd_that_is_not_found_is_no_miss():
    # coco_evaluation_test's crowd, as a difficult object.
    truth = annotation(("cat", 100, 100, 200, 200), ("dog", 99, 99, 200, 200), difficult=[1])
    evaluation = evaluate([truth], [detections((1, 0.8, 100, 100, 200, 200))], PETS)
    assert evaluation.metrics["coco/mAP"] == pytest.approx(1.0)


def test_wrong_and_right_detections_of_three_classes():
    # utils/object_detection_evaluation_test.
    annotations = [
        annotation(("cat", 0, 0, 1, 1), ("elephant", 0, 0, 2, 2), ("cat", 0, 0, 3, 3)),
        annotation(("cat", 10, 10, 11, 11), ("cat", 500, 500, 510, 510), ("elephant", 10, 10, 12, 12), difficult=[1]),
        annotation(("dog", 0, 0, 1, 1)),
    ]
    second = detections((1, 0.7, 10, 10, 11, 11), (1, 0.8, 100, 100, 120, 120), (3, 0.9, 100, 100, 220, 220))
    evaluation = evaluate(annotations, [detections(), second, detections()], LabelMap(("cat", "dog", "elephant")))
    # Precision 1/2 up to recall 1/3: of COCO's 101 recalls the first 34. The original takes the area, 1/6.
    cat = 34 / 101 / 2
    assert evaluation.per_class == (
        ClassResult("cat", 3, pytest.approx(cat), pytest.approx(cat)),
        ClassResult("dog", 1, 0.0, 0.0),
        ClassResult("elephant", 2, 0.0, 0.0),
    )
    assert evaluation.metrics["coco/mAP_50"] == pytest.approx(cat / 3)


def test_iou_decides_up_to_which_threshold_a_detection_counts():
    # 80 of 100 columns: IoU .8, which passes .50 to .80, 7 of the 10 thresholds.
    evaluation = evaluate([annotation(("cat", 0, 0, 100, 100))], [detections((1, 0.9, 0, 0, 80, 100))], CAT)
    assert evaluation.metrics["coco/mAP"] == pytest.approx(0.7)
    assert evaluation.metrics["coco/mAP_50"] == pytest.approx(1.0)
    assert evaluation.metrics["coco/mAP_75"] == pytest.approx(1.0)
    assert evaluation.metrics["coco/AR_1"] == pytest.approx(0.7)


def test_sizes_without_objects_have_no_metric():
    evaluation = evaluate([annotation(("cat", 0, 0, 100, 100))], [detections((1, 0.9, 0, 0, 100, 100))], CAT)
    assert set(METRICS) - set(evaluation.metrics) == {
        "coco/mAP_small",
        "coco/mAP_medium",
        "coco/AR_small",
        "coco/AR_medium",
    }


def test_detections_in_a_picture_without_objects_are_false_positives():
    annotations = [annotation(("cat", 0, 0, 100, 100)), annotation()]
    found = [detections((1, 0.5, 0, 0, 100, 100)), detections((1, 0.9, 10, 10, 60, 60))]
    assert evaluate(annotations, found, CAT).metrics["coco/mAP"] == pytest.approx(0.5)


def test_finding_nothing_scores_zero():
    evaluation = evaluate([annotation(("cat", 0, 0, 100, 100))], [detections()], PETS)
    assert evaluation.metrics == {name: 0.0 for name in METRICS if not name.endswith(("small", "medium"))}
    assert evaluation.per_class == (ClassResult("cat", 1, 0.0, 0.0), ClassResult("dog", 0, None, None))


def test_class_without_objects_does_not_lower_the_mean():
    found = detections((1, 0.9, 0, 0, 100, 100), (2, 0.95, 0, 0, 100, 100))
    evaluation = evaluate([annotation(("cat", 0, 0, 100, 100))], [found], PETS)
    assert evaluation.metrics["coco/mAP"] == pytest.approx(1.0)


def test_difficult_object_that_is_not_found_is_no_miss():
    truth = annotation(("cat", 0, 0, 100, 100), ("cat", 200, 0, 300, 100), difficult=[1])
    evaluation = evaluate([truth], [detections((1, 0.9, 0, 0, 100, 100))], CAT)
    assert evaluation.metrics["coco/mAP"] == pytest.approx(1.0)
    assert evaluation.metrics["coco/AR_100"] == pytest.approx(1.0)
    assert evaluation.per_class[0].objects == 1


def test_detections_of_a_difficult_object_are_no_false_positives():
    truth = annotation(("cat", 0, 0, 100, 100), ("cat", 200, 0, 300, 100), difficult=[1])
    found = detections((1, 0.9, 200, 0, 300, 100), (1, 0.8, 200, 0, 300, 99), (1, 0.7, 0, 0, 100, 100))
    assert evaluate([truth], [found], CAT).metrics["coco/mAP"] == pytest.approx(1.0)


def test_detection_inside_a_difficult_object_is_a_false_positive_as_its_iou_is_small():
    truth = annotation(("cat", 0, 0, 100, 100), ("cat", 200, 0, 300, 100), difficult=[1])
    found = detections((1, 0.9, 200, 0, 240, 40), (1, 0.7, 0, 0, 100, 100))
    assert evaluate([truth], [found], CAT).metrics["coco/mAP"] == pytest.approx(0.5)


def with_crowd(*objects, crowd):
    truth = annotation(*objects)
    return dataclasses.replace(truth, crowd=np.array([index in crowd for index in range(len(objects))]))


def test_crowd_is_ignored_where_it_is_not_found():
    truth = with_crowd(("cat", 0, 0, 100, 100), ("cat", 200, 0, 300, 100), crowd=[1])
    evaluation = evaluate([truth], [detections((1, 0.9, 0, 0, 100, 100))], CAT)
    assert (evaluation.metrics["coco/AR_100"], evaluation.per_class[0].objects) == (pytest.approx(1.0), 1)


def test_detection_inside_a_crowd_is_no_false_positive_as_all_of_it_is_in_the_crowd():
    truth = with_crowd(("cat", 0, 0, 100, 100), ("cat", 200, 0, 300, 100), crowd=[1])
    found = detections((1, 0.9, 200, 0, 240, 40), (1, 0.7, 0, 0, 100, 100))
    assert evaluate([truth], [found], CAT).metrics["coco/mAP"] == pytest.approx(1.0)


def test_class_with_only_difficult_objects_has_no_ap():
    truth = annotation(("cat", 0, 0, 100, 100), ("dog", 200, 0, 300, 100), difficult=[1])
    evaluation = evaluate([truth], [detections((1, 0.9, 0, 0, 100, 100), (2, 0.9, 0, 0, 50, 50))], PETS)
    assert evaluation.per_class[1] == ClassResult("dog", 0, None, None)
    assert evaluation.metrics["coco/mAP"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "truth", [annotation(), annotation(("cat", 0, 0, 9, 9), difficult=[0])], ids=["none", "difficult"]
)
def test_set_without_objects_has_no_metrics_and_says_so(truth):
    evaluation = evaluate([truth], [detections((1, 0.9, 0, 0, 9, 9))], CAT)
    assert evaluation.metrics == {}
    assert evaluation.class_metrics() == {}
    assert evaluation.summary() == (
        "class  objects   AP  AP@.5\n"
        "cat          0  n/a    n/a\n"
        "\n"
        "no metrics: the pictures have no ground truth objects (difficult ones do not count)"
    )


def test_detection_without_area_is_a_false_positive():
    found = detections((1, 0.9, 50, 50, 40, 40), (1, 0.7, 0, 0, 100, 100))
    assert evaluate([annotation(("cat", 0, 0, 100, 100))], [found], CAT).metrics["coco/mAP"] == pytest.approx(0.5)


def test_class_metrics_have_the_classes_that_have_objects():
    evaluation = evaluate([annotation(("cat", 0, 0, 100, 100))], [detections((1, 0.9, 0, 0, 80, 100))], PETS)
    assert evaluation.class_metrics() == {"per_class/AP/cat": pytest.approx(0.7)}


def test_summary_is_an_aligned_table():
    metrics = dict(zip(METRICS, np.arange(1, 13) / 16, strict=True))
    del metrics["coco/mAP_small"], metrics["coco/AR_small"]
    results = (ClassResult("cat", 12, 0.5, 0.75), ClassResult("sea lion", 0, None, None))
    assert Evaluation(metrics, results).summary() == (
        "class     objects     AP  AP@.5\n"
        "cat            12  0.500  0.750\n"
        "sea lion        0    n/a    n/a\n"
        "\n"
        "mAP         0.062\n"
        "mAP@.5      0.125\n"
        "mAP@.75     0.188\n"
        "mAP small   n/a (no small objects)\n"
        "mAP medium  0.312\n"
        "mAP large   0.375\n"
        "AR@1        0.438\n"
        "AR@10       0.500\n"
        "AR@100      0.562\n"
        "AR small    n/a (no small objects)\n"
        "AR medium   0.688\n"
        "AR large    0.750"
    )


def test_nothing_is_printed_and_nothing_changed(capsys):
    annotations, found, label_map = random_set(0, images=3)
    before = copy.deepcopy([(each.boxes, each.names) for each in annotations])
    evaluate(annotations, found, label_map)
    assert capsys.readouterr().out == ""
    for (boxes, names), each in zip(before, annotations, strict=True):
        np.testing.assert_array_equal(boxes, each.boxes)
        assert names == each.names


@pytest.mark.parametrize(
    ("annotations", "found", "message"),
    [
        ([], [], "evaluation: there are no pictures; give at least one annotation"),
        ([annotation()], [], "evaluation: 1 annotations but 0 detections; give one of each a picture"),
        (
            [annotation(("emu", 0, 0, 9, 9))],
            [detections()],
            "photo.jpg: 'emu' is not in the label map ['cat', 'dog']; add it or leave it out",
        ),
        (
            [annotation()],
            [detections((3, 0.9, 0, 0, 9, 9))],
            "evaluation: detected class 3 is not in the label map; its ids are 1 to 2",
        ),
    ],
)
def test_calls_that_cannot_be_scored_are_refused(annotations, found, message):
    with pytest.raises(ValueError, match=r".") as caught:
        evaluate(annotations, found, PETS)
    assert str(caught.value) == message
