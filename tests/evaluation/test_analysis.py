import dataclasses
import math

import numpy as np
import pytest

from odml.evaluation import analyse
from odml.evaluation.curves import SCORES
from tests.pets import CAT, PETS, annotation, detections, random_set

CAT_AT_0, DOG_AT_300 = ("cat", 0, 0, 100, 100), ("dog", 300, 0, 400, 100)


def costs(analysis):
    return {each.kind: (each.count, pytest.approx(each.lost, abs=1e-9)) for each in analysis.errors}


# What the numbers are of: two classes of one object each, so that a class found at once is half of mAP.
@pytest.mark.parametrize(
    ("kind", "wrong", "lost"),
    [
        ("classification", (1, 0.9, 300, 0, 400, 100), 0.5),
        ("localisation", (2, 0.9, 300, 0, 340, 100), 0.5),
        ("both", (1, 0.9, 300, 0, 340, 100), 0.25),
        ("background", (1, 0.9, 300, 300, 400, 400), 0.25),
    ],
)
def test_what_one_wrong_detection_costs(kind, wrong, lost):
    # The cat is right at score .8, after a wrong detection: as a cat that one halves the cat's AP.
    truth = annotation(CAT_AT_0, DOG_AT_300)
    analysis = analyse([truth], [detections((1, 0.8, 0, 0, 100, 100), wrong)], PETS)
    found = {each.kind: each for each in analysis.errors}
    mended_class = 0.75 if kind == "classification" else lost  # the cat's AP rises too
    assert (found[kind].count, found[kind].lost) == (1, pytest.approx(mended_class))
    others = {each.kind: each.count for each in analysis.errors if each.kind not in {kind, "missed"}}
    assert set(others.values()) == {0}
    assert found["missed"].count == (0 if kind in {"classification", "localisation"} else 1)


def test_duplicate_costs_what_comes_after_it():
    # Right, duplicate, right: precision 1, 1/2, 2/3; of the 101 recalls 51 have 1 and 50 have 2/3.
    truth = annotation(CAT_AT_0, ("cat", 300, 0, 400, 100))
    found = detections((1, 0.9, 0, 0, 100, 100), (1, 0.8, 0, 0, 100, 90), (1, 0.7, 300, 0, 400, 100))
    (duplicate,) = [each for each in analyse([truth], [found], CAT).errors if each.count]
    assert (duplicate.kind, duplicate.count, duplicate.share) == ("duplicate", 1, 1.0)
    assert duplicate.lost == pytest.approx(50 / 101 / 3)


def test_missed_objects_cost_the_recall():
    truth = annotation(CAT_AT_0, ("cat", 300, 0, 400, 100))
    analysis = analyse([truth], [detections((1, 0.9, 0, 0, 100, 100))], CAT)
    assert costs(analysis) | {"missed": (1, pytest.approx(50 / 101))} == costs(analysis)
    assert [each.share for each in analysis.errors] == [0, 0, 0, 0, 0, 1]


def test_all_objects_missed_and_nothing_else_costs_everything():
    analysis = analyse([annotation(CAT_AT_0)], [detections()], CAT)
    assert costs(analysis)["missed"] == (1, 1.0)


def test_of_detections_that_could_have_the_same_object_one_is_mended():
    # Two loose boxes about one cat: the better becomes right, and the other goes.
    found = detections((1, 0.9, 0, 0, 40, 100), (1, 0.8, 60, 0, 100, 100))
    assert costs(analyse([annotation(CAT_AT_0)], [found], CAT))["localisation"] == (2, 1.0)


def test_detections_of_objects_that_need_not_be_found_are_no_errors():
    truth = annotation(CAT_AT_0, ("cat", 300, 0, 400, 100), difficult=[1])
    found = detections((1, 0.9, 0, 0, 100, 100), (1, 0.8, 300, 0, 400, 100))
    analysis = analyse([truth], [found], CAT)
    assert {each.count for each in analysis.errors} == {0}
    assert {each.share for each in analysis.errors} == {None}
    assert analysis.confusion.tolist() == [[1, 0], [0, 0]]
    assert analysis.worst == []


def test_confusion_matrix_has_background_last():
    truth = annotation(CAT_AT_0, DOG_AT_300, ("dog", 0, 300, 100, 400), ("dog", 300, 300, 400, 400))
    found = detections(
        (1, 0.9, 0, 0, 100, 100),  # the cat
        (1, 0.9, 300, 0, 400, 100),  # a dog as a cat
        (2, 0.9, 0, 300, 100, 400),  # a dog
        (2, 0.9, 500, 0, 600, 100),  # nothing there
        (2, 0.1, 550, 300, 600, 400),  # nothing there, but it is not sure either
    )
    analysis = analyse([truth], [found], PETS)
    assert analysis.score_threshold == pytest.approx(0.9)
    assert analysis.confusion.tolist() == [[1, 0, 0], [1, 1, 1], [0, 1, 0]]


def test_object_that_is_right_is_not_confused_with_a_better_box_of_another_class():
    found = detections((1, 0.9, 0, 0, 100, 90), (2, 0.9, 0, 0, 100, 100))
    assert analyse([annotation(CAT_AT_0)], [found], PETS).confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_best_threshold_is_the_score_with_the_highest_f1():
    # Right, wrong, right, wrong of 2 objects: F1 2/3, 1/2, 4/5, 2/3.
    truth = annotation(CAT_AT_0, ("cat", 300, 0, 400, 100))
    found = detections(
        (1, 0.9, 0, 0, 100, 100), (1, 0.75, 0, 300, 9, 309), (1, 0.5, 300, 0, 400, 100), (1, 0.25, 9, 300, 30, 309)
    )
    curves = analyse([truth], [found], CAT).curves[0]
    assert dataclasses.astuple(curves.best) == pytest.approx((0.5, 0.8, 2 / 3, 1.0))
    at = {score: index for index, score in enumerate(SCORES.astype(np.float64).round(3).tolist())}
    assert curves.F1[[at[0.0], at[0.25], at[0.3], at[0.5], at[0.8]]] == pytest.approx([2 / 3, 2 / 3, 0.8, 0.8, 2 / 3])
    assert curves.recall[[at[0.5], at[0.505], at[0.95]]] == pytest.approx([1, 0.5, 0])
    assert curves.precision[at[0.75]] == pytest.approx(0.5)
    assert math.isnan(curves.precision[at[0.95]])
    assert curves.over_recall[[0, 50, 51, 100]] == pytest.approx([1, 1, 2 / 3, 2 / 3])


@pytest.mark.parametrize("seed", range(3))
def test_precision_is_that_of_scikit_learn(seed):
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn, which MLflow brings")
    from odml.evaluation.matching import match
    from odml.evaluation.tables import tabulate

    annotations, found, label_map = random_set(seed)
    objects, table = tabulate(annotations, found, label_map)
    matches = match(table, objects, classes=len(label_map))
    of_class = table.classes == 1
    precision, recall, thresholds = metrics.precision_recall_curve(
        matches.right_at_50[of_class], table.scores[of_class]
    )
    curves = analyse(annotations, found, label_map).curves[0]
    rows = np.searchsorted(SCORES, thresholds)
    share = matches.right_at_50[of_class].sum() / matches.counts[0, 0]  # of the objects; scikit-learn knows no misses
    assert curves.precision[rows] == pytest.approx(precision[:-1])
    assert curves.recall[rows] == pytest.approx(recall[:-1] * share)


def test_calibration_error_is_the_weighted_distance_of_score_and_precision():
    # Of two at .95 one is right, the one at .35 is right: (2 x .45 + 1 x .65) / 3. One at .01 does not count.
    truth = annotation(CAT_AT_0, ("cat", 300, 0, 400, 100))
    found = detections(
        (1, 0.95, 0, 0, 100, 100), (1, 0.95, 0, 300, 9, 309), (1, 0.35, 300, 0, 400, 100), (1, 0.01, 500, 0, 600, 9)
    )
    calibration = analyse([truth], [found], CAT).calibration
    assert calibration.error == pytest.approx(1.55 / 3)
    assert calibration.counts.tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 2]
    assert calibration.precision[[3, 9]].tolist() == [1, 0.5]


def test_voc_takes_the_object_that_a_detection_overlaps_most_even_if_it_is_taken():
    # The second detection overlaps the first cat most, which is taken: wrong for VOC, right about the other for COCO.
    truth = annotation(CAT_AT_0, ("cat", 40, 0, 140, 100))
    analysis = analyse([truth], [detections((1, 0.9, 0, 0, 100, 100), (1, 0.8, 15, 0, 115, 100))], CAT)
    assert dataclasses.astuple(analysis.voc[0]) == ("cat", pytest.approx(6 / 11), pytest.approx(0.5))
    (of_coco,) = analysis.evaluation.per_class
    assert dataclasses.astuple(of_coco)[3] == pytest.approx(1.0)


def test_voc_of_the_kits_definition():
    # Right, wrong, right of 3 objects: precision 1 to recall 1/3, 2/3 to 2/3; 11 points: .0 to .3, .4 to .6.
    truth = annotation(CAT_AT_0, ("cat", 300, 0, 400, 100), ("cat", 0, 300, 100, 400))
    found = detections((1, 0.9, 0, 0, 100, 100), (1, 0.8, 500, 500, 600, 600), (1, 0.7, 300, 0, 400, 100))
    (result,) = analyse([truth], [found], CAT).voc
    assert result.AP_11_points == pytest.approx((4 + 3 * 2 / 3) / 11)
    assert result.AP_area == pytest.approx(1 / 3 + 2 / 9)


def test_worst_picture_comes_first_and_a_faultless_one_not_at_all():
    truths = [annotation(CAT_AT_0), annotation(CAT_AT_0), annotation(CAT_AT_0, ("cat", 300, 0, 400, 100))]
    right = (1, 0.9, 0, 0, 100, 100)
    found = [detections(right), detections(right, (1, 0.75, 300, 0, 400, 100)), detections(right)]
    worst = analyse(truths, found, CAT).worst
    assert [(each.picture, each.missed, each.wrong) for each in worst] == [(2, 1, 0)]
    assert worst[0].cost == pytest.approx(1.0)


def test_metrics_of_a_set_have_names_that_say_what_they_are():
    analysis = analyse([annotation(CAT_AT_0)], [detections((1, 0.9, 0, 0, 100, 100))], PETS)
    metrics = {name: value for name, value in analysis.metrics().items() if not name.startswith("coco/")}
    assert metrics == pytest.approx(
        {
            "voc/mAP_11_points": 1.0,
            "voc/mAP_area": 1.0,
            "F1": 1.0,
            "precision": 1.0,
            "recall": 1.0,
            "score_threshold": 0.9,
            "calibration_error": 0.1,
            "tide/classification": 0.0,
            "tide/localisation": 0.0,
            "tide/both": 0.0,
            "tide/duplicate": 0.0,
            "tide/background": 0.0,
            "tide/missed": 0.0,
        }
    )
    assert analysis.class_metrics() == pytest.approx({"per_class/AP/cat": 1.0, "per_class/score_threshold/cat": 0.9})
    assert analysis.class_table()[1] == {"name": "dog", "objects": 0} | dict.fromkeys(
        ("AP", "AP_50", "VOC_AP_11_points", "VOC_AP_area", "score_threshold", "F1", "precision", "recall")
    )


@pytest.mark.parametrize("found", [(), ((1, 0.9, 0, 0, 9, 9),)], ids=["nothing", "something"])
def test_set_without_objects_has_no_number_that_needs_one(found):
    analysis = analyse([annotation()], [detections(*found)], CAT)
    assert set(analysis.metrics()) == ({"calibration_error"} if found else set())
    assert (analysis.mean, analysis.errors, analysis.score_threshold) == (None, [], 0.5)
    assert analysis.confusion.tolist() == [[0, 0], [len(found), 0]]


def test_nothing_found_at_all():
    analysis = analyse([annotation(CAT_AT_0)], [detections()], CAT)
    assert analysis.metrics()["coco/mAP"] == 0
    assert analysis.mean.best is None
    assert analysis.calibration is None
    assert [(each.missed, each.wrong) for each in analysis.worst] == [(1, 0)]
