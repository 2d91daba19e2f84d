"""The matching against pycocotools' own, with objects that need not be found."""

import dataclasses
from collections import defaultdict

import numpy as np
import pytest
from pycocotools import mask
from pycocotools.cocoeval import COCOeval

from odml.evaluation import evaluate
from odml.evaluation.matching import match
from odml.evaluation.tables import tabulate
from tests.pets import CAT, annotation, detections, random_set


class Scorer(COCOeval):
    """pycocotools on objects in memory: what need not be found comes as a crowd, but only crowds overlap like one."""

    def __init__(self, annotations, found, label_map):
        super().__init__(iouType="bbox")
        self.params.imgIds = list(range(len(annotations)))
        self.params.catIds = list(range(1, len(label_map) + 1))
        self.objects, self.detections = defaultdict(list), defaultdict(list)
        number = 0
        for picture, (each, there) in enumerate(zip(annotations, found, strict=True)):
            for name, box, difficult, crowd in zip(each.names, each.boxes, each.difficult, each.crowd, strict=True):
                number += 1
                flags = {"ignore": bool(difficult | crowd), "iscrowd": bool(difficult | crowd), "is_crowd": int(crowd)}
                self.objects[picture, label_map.id_of(name)].append({"id": number} | flags | self.shape(box))
            for class_id, box, score in zip(there.classes.tolist(), there.boxes, there.scores.tolist(), strict=True):
                number += 1
                self.detections[picture, class_id].append({"id": number, "score": score} | self.shape(box))

    @staticmethod
    def shape(box):
        x1, y1, x2, y2 = box.astype(np.float64).tolist()
        width, height = max(x2 - x1, 0), max(y2 - y1, 0)
        return {"bbox": [x1, y1, width, height], "area": width * height}

    def _prepare(self):
        self._gts, self._dts = self.objects, self.detections

    def computeIoU(self, imgId, catId):  # noqa: N802, N803 (pycocotools' names)
        objects = self._gts[imgId, catId]
        found = sorted(self._dts[imgId, catId], key=lambda entry: -entry["score"])[:100]
        if not objects or not found:
            return []
        crowds = [each["is_crowd"] for each in objects]
        return mask.iou([each["bbox"] for each in found], [each["bbox"] for each in objects], crowds)


@pytest.mark.parametrize("seed", range(10))
def test_numbers_with_difficult_objects_and_crowds_are_those_of_pycocotools(seed, capsys):
    annotations, found, label_map = random_set(seed, images=20)
    rng = np.random.default_rng(seed)
    annotations = [
        dataclasses.replace(each, difficult=rng.random(len(each.names)) < 0.2, crowd=rng.random(len(each.names)) < 0.2)
        for each in annotations
    ]
    scorer = Scorer(annotations, found, label_map)
    scorer.evaluate()
    scorer.accumulate()
    scorer.summarize()
    metrics = evaluate(annotations, found, label_map).metrics
    assert list(metrics.values()) == pytest.approx([value for value in scorer.stats if value >= 0], abs=1e-9)


def matched(truth, found):
    objects, table = tabulate([truth], [found], CAT)
    return match(table, objects, classes=1)


def test_best_detection_chooses_first_and_a_later_one_takes_what_is_left():
    # Both overlap the first object more; the better one has it, at .9; the other overlaps the second by 60 of 140.
    truth = annotation(("cat", 0, 0, 100, 100), ("cat", 40, 0, 140, 100))
    matches = matched(truth, detections((1, 0.9, 0, 0, 90, 100), (1, 0.8, 10, 0, 110, 100)))
    assert matches.objects.tolist() == [0, 1]
    assert matches.at(matches.right, 0).sum(axis=0).tolist() == [9, 1]  # IoUs .9, and 70 / 130


def test_detection_of_another_size_that_has_no_object_is_neither_right_nor_wrong():
    matches = matched(annotation(("cat", 0, 0, 100, 100)), detections((1, 0.9, 300, 300, 310, 310)))
    assert (matches.wrong[0] > 0).tolist() == [True, True, False, False]  # all, small, medium, large
    assert matches.counts.tolist() == [[1, 0, 0, 1]]


def test_more_than_100_detections_of_a_class_in_a_picture_do_not_count():
    found = detections(*[(1, 0.9, 300, 300, 310, 310)] * 100, (1, 0.5, 0, 0, 100, 100))
    assert not matched(annotation(("cat", 0, 0, 100, 100)), found).right.any()


def test_pictures_that_do_not_fit_into_memory_together_come_out_the_same(monkeypatch):
    annotations, found, label_map = random_set(0)
    whole = evaluate(annotations, found, label_map)
    monkeypatch.setattr("odml.evaluation.tables._PAIRS_AT_ONCE", 10)
    assert evaluate(annotations, found, label_map) == whole
