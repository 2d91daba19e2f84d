import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from odml.detector import Detector, batches_of_one_size
from odml.errors import ExportError
from odml.export.freezing import freeze, trace
from odml.structures import LabelMap
from tests.quadrants import LABEL_MAP, Quadrants, coloured

RED, GREEN, DARK_GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 51, 0), (0, 0, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    (folder / "frozen_inference_graph.pb").write_bytes(freeze(trace(Quadrants().detect)).SerializeToString())
    (folder / "labels.pbtxt").write_text(LABEL_MAP.to_pbtxt())
    return folder


@pytest.fixture(scope="module")
def detector(folder):
    return Detector.load(folder)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "graph")


def test_boxes_are_pixels_of_each_picture(detector):
    small = coloured(4, 6, top_left=RED, elsewhere=BLACK)
    large = coloured(40, 20, top_left=GREEN, elsewhere=BLACK)
    found = detector.detect([small, large])
    assert [each.boxes.tolist() for each in found] == [[[0, 0, 3, 2]], [[0, 0, 10, 20]]]
    assert [each.classes.tolist() for each in found] == [[1], [2]]
    assert [each.scores.tolist() for each in found] == [[1], [1]]
    assert {(each.boxes.dtype, each.classes.dtype) for each in found} == {(np.dtype(np.float32), np.dtype(np.int32))}
    assert detector.label_map == LABEL_MAP


def test_no_images_give_no_detections(detector):
    assert detector.detect([]) == []


def test_image_without_objects_has_no_detections(detector):
    (found,) = detector.detect([coloured(4, 4, top_left=BLACK, elsewhere=BLACK)])
    assert len(found) == 0


def test_score_threshold_and_most_detections_keep_the_best(detector):
    image = coloured(4, 6, top_left=RED, elsewhere=DARK_GREEN)  # red scores 1, three quadrants of green 0.2
    assert [len(each) for each in detector.detect([image])] == [4]
    assert [len(each) for each in detector.detect([image], score_threshold=0.5)] == [1]
    assert [len(each) for each in detector.detect([image], max_detections=2)] == [2]
    assert detector.detect([image], max_detections=1)[0].classes.tolist() == [1]


def test_neighbours_of_one_size_run_as_one_batch_of_at_most_eight():
    shapes = []

    def network(images):
        shapes.append(tuple(images.shape))
        return Quadrants().detect(images)

    images = [coloured(4, 6, top_left=RED, elsewhere=BLACK)] * 10 + [coloured(4, 4, top_left=RED, elsewhere=BLACK)] * 2
    assert len(Detector(network, LABEL_MAP).detect(images)) == 12
    assert shapes == [(8, 4, 6, 3), (2, 4, 6, 3), (2, 4, 4, 3)]


def test_batches_of_large_pictures_are_smaller():
    images = [coloured(4, 6, top_left=RED, elsewhere=BLACK)] * 5  # 24 pixels each
    batches = batches_of_one_size(images, lambda image: image, images=8, pixels=50)
    assert [len(batch) for batch in batches] == [2, 2, 1]


def test_picture_that_has_too_many_pixels_is_a_batch_of_its_own():
    batches = list(batches_of_one_size(["ab", "cd"], lambda item: np.zeros([9, 9, 3], np.uint8), images=8, pixels=50))
    assert batches == [["ab"], ["cd"]]


def test_two_stage_detector_takes_pictures_one_by_one(tmp_path, monkeypatch):
    class Crops(Quadrants):
        def detect(self, images):
            boxes = tf.zeros([tf.shape(images)[0], 4])
            crops = tf.image.crop_and_resize(tf.cast(images, tf.float32), boxes, tf.range(tf.shape(images)[0]), [1, 1])
            found = super().detect(images)
            return found | {"num_detections": found["num_detections"] + 0.0 * crops[:, 0, 0, 0]}

    (tmp_path / "frozen_inference_graph.pb").write_bytes(freeze(trace(Crops().detect)).SerializeToString())
    (tmp_path / "labels.pbtxt").write_text(LABEL_MAP.to_pbtxt())
    detector = Detector.load(tmp_path)
    shapes = []
    network = detector._network
    monkeypatch.setattr(detector, "_network", lambda images: shapes.append(tuple(images.shape)) or network(images))
    assert len(detector.detect([coloured(4, 6, top_left=RED, elsewhere=BLACK)] * 3)) == 3
    assert shapes == [(1, 4, 6, 3)] * 3


def test_images_may_come_one_by_one(detector):
    images = (coloured(4, 6, top_left=colour, elsewhere=BLACK) for colour in (RED, GREEN))
    assert [each.classes.tolist() for each in detector.detect(images)] == [[1], [2]]


def test_several_threads_may_detect_at_once(detector):
    images = [coloured(4 + size, 6, top_left=(RED, GREEN)[size % 2], elsewhere=BLACK) for size in range(40)]
    with ThreadPoolExecutor(8) as executor:
        found = list(executor.map(lambda image: detector.detect([image])[0].classes.tolist(), images))
    assert found == [[1], [2]] * 20


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_array_that_is_no_image_is_refused(detector, image):
    shape = list(image.shape)
    with pytest.raises(ValueError, match=r"^image 0 must be uint8 \[H, W, 3\], not ") as raised:
        detector.detect([image])
    assert str(raised.value).endswith(f"{image.dtype} {shape}")


@pytest.mark.parametrize("name", ["frozen_inference_graph.pb", "labels.pbtxt"])
def test_folder_without_one_of_its_files_is_no_detector(copy, name):
    (copy / name).unlink()
    with pytest.raises(ExportError) as raised:
        Detector.load(copy)
    assert str(raised.value) == (
        f"{copy}: is no exported detector, {name} is missing; name a folder that the export wrote"
    )


def test_damaged_graph_is_refused(copy):
    path = copy / "frozen_inference_graph.pb"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ExportError) as raised:
        Detector.load(copy)
    assert str(raised.value) == f"{path}: is damaged or no frozen graph; export the detector again"


def test_graph_of_something_else_is_refused(copy):
    path = copy / "frozen_inference_graph.pb"
    path.write_bytes(tf.compat.v1.GraphDef().SerializeToString())
    with pytest.raises(ExportError) as raised:
        Detector.load(copy)
    assert str(raised.value) == (
        f"{path}: is no frozen detector, it lacks image_tensor, num_detections, detection_boxes, detection_scores,"
        " detection_classes; export the detector again"
    )


def test_graph_of_unknown_operations_is_refused(copy):
    path = copy / "frozen_inference_graph.pb"
    graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    graph.node.add(name="x", op="NoSuchOperation")
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ExportError) as raised:
        Detector.load(copy)
    assert str(raised.value).startswith(f"{path}: this TensorFlow {tf.__version__} cannot run it (")
    assert "NoSuchOperation" in str(raised.value)
    assert str(raised.value).endswith("); export the detector again")


def test_damaged_label_map_is_refused(copy):
    (copy / "labels.pbtxt").write_text("item { id: 1 }")
    with pytest.raises(ExportError) as raised:
        Detector.load(copy)
    assert str(raised.value) == (
        f"{copy / 'labels.pbtxt'}: cannot be read (label map: an item has no id or no name: 'id: 1');"
        " export the detector again"
    )


def test_label_map_of_another_detector_is_refused(copy):
    (copy / "labels.pbtxt").write_text(LabelMap(("red",)).to_pbtxt())
    with pytest.raises(ExportError) as raised:
        Detector.load(copy).detect([coloured(4, 6, top_left=GREEN, elsewhere=BLACK)])
    assert str(raised.value) == (
        "labels.pbtxt: has 1 classes, but the graph detects class 2; use the label map of its training"
    )
