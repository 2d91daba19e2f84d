from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from odml.batches import evaluation_batches
from odml.prediction import predict
from odml.structures import LabelMap
from tests import tiny

RED, GREEN = ("red", (8, 6, 40, 36)), ("green", (48, 12, 72, 60))


class Seeker:
    """A detector of red: one box around its pixels with class 2, one of class 1 after it, and padding."""

    limit = 3

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = [self._seek(image) for image in images.numpy()]
        return {name: tf.constant(np.stack([row[name] for row in rows])) for name in rows[0]}

    def _seek(self, image: np.ndarray) -> dict[str, np.ndarray]:
        height, width = image.shape[:2]
        rows, columns = np.nonzero((image[..., 0] > 150) & (image[..., 1] < 100))
        boxes = np.zeros((self.limit, 4), np.float32)
        if len(rows):
            edges = [rows.min() / height, columns.min() / width, (rows.max() + 1) / height, (columns.max() + 1) / width]
            boxes[:2] = edges, [0, 0, 1, 1]
        return {
            "detection_boxes": boxes,
            "detection_scores": np.float32([0.75, 0.5, 0]),
            "detection_classes": np.float32([2, 1, 1]),
            "num_detections": np.float32(2 if len(rows) else 0),
            "raw_detection_boxes": np.zeros((1, 4), np.float32),
        }


def resize(image: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(tf.image.resize(image, (30, 40), method="nearest"), [30, 40, 3])


@pytest.fixture
def found(tmp_path):
    examples = [
        tiny.serialize([RED, GREEN], source_id="a/1.png", difficult=[True, False]),
        tiny.serialize([], source_id="2.png", width=44, height=30),
        tiny.serialize([RED], source_id="3.png"),
    ]
    dataset = tiny.write_dataset(tmp_path / "dataset", train=[], val=examples)
    batches = evaluation_batches(dataset.val_records, batch_size=2, resize=resize)
    return predict(Seeker(), batches, dataset.label_map, examples=3)


def test_ground_truth_comes_back_in_pixels_of_the_original_pictures(found):
    annotations, _ = found
    first, second, _ = annotations
    assert [annotation.image.as_posix() for annotation in annotations] == ["a/1.png", "2.png", "3.png"]
    assert (first.width, first.height, second.width, second.height) == (80, 60, 44, 30)
    assert first.boxes == pytest.approx(np.array([RED[1], GREEN[1]]), abs=1e-4)
    assert first.names == ("red", "green")
    assert first.difficult.tolist() == [True, False]
    assert second.names == ()


def test_detections_come_back_in_pixels_of_the_original_pictures(found):
    _, detections = found
    first, _, third = detections
    assert first.boxes == pytest.approx(np.array([RED[1], (0, 0, 80, 60)]), abs=1e-4)
    assert first.scores.tolist() == [0.75, 0.5]
    assert first.classes.tolist() == [2, 1]
    assert first.classes.dtype == np.int32
    assert len(third) == 2


def test_picture_in_which_nothing_is_found(found):
    _, detections = found
    assert len(detections[1]) == 0


def test_no_pictures_at_all(tmp_path):
    assert predict(Seeker(), [], tiny.LABEL_MAP, examples=0) == ([], [])


def test_class_that_the_label_map_does_not_have(tmp_path):
    dataset = tiny.write_dataset(tmp_path / "dataset", train=[], val=[tiny.serialize([RED])])
    batches = evaluation_batches(dataset.val_records, batch_size=1, resize=resize)
    with pytest.raises(KeyError, match="2"):
        predict(Seeker(), batches, LabelMap(("green",)), examples=1)
