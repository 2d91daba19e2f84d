from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from odml.errors import ExportError
from odml.export import parity
from odml.export.freezing import freeze, trace
from odml.export.parity import ANCHORS, PROPOSALS, Parity, check
from odml.forms import frozen_graph
from tests.quadrants import Quadrants, coloured

RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)


@pytest.fixture(scope="module")
def batch():
    return np.stack([coloured(6, 8, top_left=colour, elsewhere=BLACK) for colour in (RED, GREEN, BLACK)])


def test_detections_are_compared_only_where_their_scores_stand_alone(tmp_path, batch):
    network = Quadrants()
    path = tmp_path / "graph.pb"
    path.write_bytes(freeze(trace(network.detect)).SerializeToString())
    graph = frozen_graph.read(path)
    red, green, black = batch
    # Red and green have one object each; in black, no quadrant has any score.
    assert check(path.name, graph, network.detect, [np.stack([red, green, black])]) == Parity(0.0, 12, 12, 2, 2)
    # Four quadrants that score alike: suppression may take them in any order.
    assert check(
        path.name, frozen_graph.read(path), network.detect, [coloured(6, 8, top_left=RED, elsewhere=RED)[None]]
    ) == Parity(0.0, 4, 4, 0, 0)


def test_graph_of_other_classes_is_told_from_its_network(tmp_path, batch):
    class Renumbered(Quadrants):
        def detect(self, images):
            found = super().detect(images)
            return found | {"detection_classes": found["detection_classes"] + 1.0}

    path = tmp_path / "graph.pb"
    path.write_bytes(freeze(trace(Renumbered().detect)).SerializeToString())
    with pytest.raises(ExportError) as raised:
        check(path.name, frozen_graph.read(path), Quadrants().detect, [batch])
    assert str(raised.value) == (
        "graph.pb: differs from its checkpoint, in 0 of 12 rows before suppression (by 0.0) and in 2 of 2 detections;"
        " do not use it, and report this"
    )


def random_rows(count: int, *, seed: int) -> np.ndarray:
    """Give rows of a box and the scores of background and two classes, as different as those of a network are."""
    random = np.random.default_rng(seed)
    corner, side = random.uniform(0, 0.6, (count, 2)), random.uniform(0.1, 0.4, (count, 2))
    scores = random.dirichlet(np.ones(3), count)
    return np.hstack([corner, corner + side, scores]).astype(np.float32)


ROWS = random_rows(40, seed=1)
OTHERS = random_rows(40, seed=2)


class Rows:
    """Three pictures whose rows before suppression are given; a row whose class 1 scores above 0.5 is detected."""

    def __init__(self, *pictures: np.ndarray) -> None:
        self.pictures = np.stack(pictures)

    def detect(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.constant(self.pictures) + 0.0 * tf.cast(tf.reduce_sum(images), tf.float32)
        found = tf.image.combined_non_max_suppression(
            rows[:, :, None, :4], rows[..., 5:6], 40, 40, iou_threshold=1.0, score_threshold=0.5
        )
        return {
            "detection_boxes": found.nmsed_boxes,
            "detection_scores": found.nmsed_scores,
            "detection_classes": found.nmsed_classes + 1.0,
            "num_detections": tf.cast(found.valid_detections, tf.float32),
            "raw_detection_boxes": rows[..., :4],
            "raw_detection_scores": rows[..., 4:],
        }


@pytest.fixture
def compare(tmp_path):
    def compare(network: Rows, graph: Rows, pairing: parity.Pairing) -> Parity:
        path = tmp_path / "graph.pb"
        path.write_bytes(freeze(trace(graph.detect)).SerializeToString())
        return check(
            path.name, frozen_graph.read(path), network.detect, [np.zeros((3, 4, 4, 3), np.uint8)], pairing=pairing
        )

    return compare


def padded(rows: np.ndarray, count: int) -> np.ndarray:
    """Keep the first rows and make the others padding: a box without area, and the same scores in each."""
    padding = np.tile(np.float32([0, 0, 0, 0, 0.2, 0.7, 0.1]), [len(rows) - count, 1])
    return np.concatenate([rows[:count], padding])


def with_others(rows: np.ndarray, count: int) -> np.ndarray:
    """Put other rows in place of the first ones."""
    return np.concatenate([OTHERS[:count], rows[count:]])


def test_anchors_are_compared_one_by_one(compare):
    near = ROWS + np.float32(5e-4)
    found = compare(Rows(ROWS, ROWS, ROWS), Rows(ROWS, near, ROWS), ANCHORS)
    assert (found.rows, found.paired, found.raw_difference) == (120, 120, pytest.approx(5e-4, rel=1e-3))
    with pytest.raises(ExportError, match=r"in 2 of 120 rows before suppression \(by 0\.\d+\)"):
        compare(Rows(ROWS, ROWS, ROWS), Rows(ROWS, ROWS[[1, 0, *range(2, 40)]], ROWS), ANCHORS)


def test_anchor_that_is_no_number_in_the_graph_is_a_difference(compare):
    broken = ROWS.copy()
    broken[3, 2] = np.nan
    with pytest.raises(ExportError, match="in 1 of 120 rows"):
        compare(Rows(ROWS, ROWS, ROWS), Rows(ROWS, broken, ROWS), ANCHORS)


def test_proposals_may_come_in_another_order(compare):
    order = np.random.default_rng(3).permutation(40)
    found = compare(Rows(ROWS, ROWS, ROWS), Rows(ROWS, ROWS[order] + np.float32(1e-5), ROWS), PROPOSALS)
    assert (found.rows, found.paired, found.raw_difference) == (120, 120, pytest.approx(1e-5, rel=0.1))
    assert found.compared == found.matched > 10


def test_some_proposals_may_be_others(compare):
    found = compare(Rows(ROWS, ROWS, ROWS), Rows(ROWS, with_others(ROWS, 10), ROWS), PROPOSALS)
    assert (found.rows, found.paired, found.raw_difference) == (120, 110, 0.0)
    # The detections of the ten are not held against the graph.
    assert found.compared == found.matched


def test_graph_with_most_proposals_others_in_any_picture_is_refused(compare):
    with pytest.raises(ExportError, match="in 21 of 120 rows"):
        compare(Rows(ROWS, ROWS, ROWS), Rows(ROWS, with_others(ROWS, 21), ROWS), PROPOSALS)


@pytest.mark.parametrize("column", range(7), ids=["ymin", "xmin", "ymax", "xmax", "background", "first", "second"])
def test_proposal_that_differs_in_one_value_is_another(compare, column):
    moved = ROWS.copy()
    moved[:, column] += 0.003
    with pytest.raises(ExportError, match="in 40 of 120 rows"):
        compare(Rows(ROWS, ROWS, ROWS), Rows(ROWS, moved, ROWS), PROPOSALS)


def test_a_proposal_of_the_graph_serves_only_once(compare):
    alike = np.tile(ROWS[:1], [40, 1])
    with pytest.raises(ExportError, match="in 39 of 120 rows"):
        compare(Rows(ROWS, ROWS, ROWS), Rows(ROWS, alike, ROWS), PROPOSALS)


def test_padding_speaks_for_no_graph(compare):
    found = compare(Rows(ROWS, padded(ROWS, 6), ROWS), Rows(ROWS, padded(ROWS, 6), ROWS), PROPOSALS)
    assert (found.rows, found.paired) == (86, 86)
    with pytest.raises(ExportError, match="in 6 of 86 rows"):
        compare(Rows(ROWS, padded(ROWS, 6), ROWS), Rows(ROWS, padded(OTHERS, 6), ROWS), PROPOSALS)


def test_proposals_that_the_graph_has_too_many_are_differences(compare):
    with pytest.raises(ExportError, match="in 34 of 120 rows"):
        compare(Rows(ROWS, padded(ROWS, 6), ROWS), Rows(ROWS, ROWS, ROWS), PROPOSALS)
    with pytest.raises(ExportError, match="in 40 of 120 rows"):
        compare(Rows(ROWS, padded(ROWS, 0), ROWS), Rows(ROWS, ROWS, ROWS), PROPOSALS)


def test_no_proposals_at_all_are_alike(compare):
    none = padded(ROWS, 0)
    assert compare(Rows(none, none, none), Rows(none, none, none), PROPOSALS).rows == 0
