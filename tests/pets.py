"""Ground truth and detections of cats and dogs, by hand and by chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from odml.structures import Annotation, Detections, LabelMap

CAT = LabelMap(("cat",))
PETS = LabelMap(("cat", "dog"))


def annotation(*objects, difficult=()):
    """Each object is (name, x1, y1, x2, y2); ``difficult`` holds the numbers, from 0, of those that are."""
    return Annotation(
        image=Path("photo.jpg"),
        width=640,
        height=480,
        boxes=np.array([each[1:] for each in objects], np.float32).reshape(-1, 4),
        names=tuple(each[0] for each in objects),
        difficult=np.array([index in difficult for index in range(len(objects))], np.bool_),
    )


def detections(*found):
    """Each detection is (class id, score, x1, y1, x2, y2)."""
    rows = np.array(found, np.float32).reshape(-1, 6)
    return Detections(rows[:, 2:], rows[:, 1], rows[:, 0].astype(np.int32))


def random_set(seed, *, images=30, classes=4):
    """Draw ground truth of all sizes, and detections that are often near it, with ties among the scores."""
    rng = np.random.default_rng(seed)
    names = [f"class {number}" for number in range(1, classes + 1)]
    annotations, found = [], []
    for _ in range(images):
        corners, sides = rng.uniform(0, 300, (rng.integers(0, 8), 2)), rng.choice([12, 50, 150], (8, 1))
        boxes = np.hstack([corners, corners + sides[: len(corners)] * rng.uniform(0.7, 1.3, corners.shape)])
        ids = rng.integers(1, classes, len(boxes))  # the last class has no objects
        annotations.append(
            Annotation(
                Path("a.jpg"), 640, 480, boxes.astype(np.float32), tuple(names[class_id - 1] for class_id in ids)
            )
        )
        near = np.repeat(boxes, 3, axis=0) + rng.normal(0, 5, (3 * len(boxes), 4))
        far = np.hstack([corners, corners + rng.uniform(1, 90, corners.shape)])
        near_ids = np.where(rng.random(len(near)) < 0.8, np.repeat(ids, 3), rng.integers(1, classes + 1, len(near)))
        scores = np.sort(rng.integers(1, 20, len(near) + len(far)) / 20)[::-1]
        order = rng.permutation(len(scores))
        found.append(
            Detections(
                np.vstack([near, far])[order].astype(np.float32),
                scores.astype(np.float32),
                np.concatenate([near_ids, rng.integers(1, classes + 1, len(far))])[order].astype(np.int32),
            )
        )
    return annotations, found, LabelMap(tuple(names))
