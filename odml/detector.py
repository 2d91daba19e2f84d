"""An exported detector at work: pictures in, detections in pixels out.

Reads what odml.export writes, or any frozen graph of the TF Object Detection API beside a ``labels.pbtxt``; it needs
none of the code that built the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from odml.boxes import yxyx_to_xyxy
from odml.errors import ExportError, RecordError
from odml.structures import LABELS_FILE, Detections, LabelMap

GRAPH_FILE = "frozen_inference_graph.pb"
INPUT = "image_tensor"
OUTPUTS = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")

# For an SSD a batch of 8 costs some 15 percent less per picture than one at a time, 32 no less than 8; pixels bound the
# memory. A two-stage detector, which crops its proposals out, gains nothing and takes some 0.5 GB for each picture.
_BATCH_IMAGES = 8
_BATCH_PIXELS = 16_000_000
_CROPPING = "CropAndResize"

Item = TypeVar("Item")
Network = Callable[[tf.Tensor], dict[str, tf.Tensor]]


class Detector:
    """A frozen detection graph and the names of its classes.

    Make one with ``Detector.load(folder)``; ``detect`` may be called from several threads at once.
    """

    def __init__(self, network: Network, label_map: LabelMap, *, batch_size: int = _BATCH_IMAGES) -> None:
        self.label_map = label_map
        self._network = network
        self._batch_size = batch_size

    @classmethod
    def load(cls, folder: Path, *, batch_size: int | None = None) -> Detector:
        """Load an export folder: its frozen graph and its label map.

        Args:
            batch_size: the most pictures that run at once; None for what suits the network.
        Raises:
            ExportError: one of the two files is missing or damaged, or the graph is not a detector's.
        """
        folder = Path(folder)
        label_map = read_label_map(_existing(folder, LABELS_FILE))
        path = _existing(folder, GRAPH_FILE)
        graph = _read_graph(path)
        crops = any(node.op == _CROPPING for node in graph.node)
        network = _as_function(graph, path, OUTPUTS)
        return cls(network, label_map, batch_size=batch_size or (1 if crops else _BATCH_IMAGES))

    def detect(
        self, images: Iterable[np.ndarray], *, score_threshold: float = 0.0, max_detections: int | None = None
    ) -> list[Detections]:
        """Find the objects in pictures of any sizes; neighbours of one size may run as one batch.

        Args:
            images: uint8 [H, W, 3] each, RGB, taken as they are needed; none gives no result.
            score_threshold: the least score kept, 0..1.
            max_detections: the most kept a picture, best first; None keeps all that the network gives.
        Returns:
            As many Detections as images, boxes in pixels of each.
        Raises:
            ExportError: the network found a class that the label map does not have.
            ValueError: an image of another type or shape.
        """
        batches = batches_of_one_size(
            _checked(images), lambda image: image, images=self._batch_size, pixels=_BATCH_PIXELS
        )
        found = [detections for batch in batches for detections in self._detect_batch(batch)]
        return [each.best(score_threshold=score_threshold, max_detections=max_detections) for each in found]

    def _detect_batch(self, batch: Sequence[np.ndarray]) -> Iterator[Detections]:
        height, width = batch[0].shape[:2]
        tensors = self._network(tf.constant(np.stack(batch)))
        rows = zip(*(tensors[name].numpy() for name in OUTPUTS), strict=True)
        for count, boxes, scores, classes in rows:
            valid = slice(int(count))
            boxes = yxyx_to_xyxy(boxes[valid], width=width, height=height)
            yield Detections(boxes, scores[valid], self._known(classes[valid].astype(np.int32)))

    def _known(self, classes: np.ndarray) -> np.ndarray:
        if len(classes) and not 1 <= classes.min() <= classes.max() <= len(self.label_map):
            raise ExportError(
                f"{LABELS_FILE}: has {len(self.label_map)} classes, but the graph detects class {classes.max()};"
                " use the label map of its training"
            )
        return classes


def read_network(path: Path, *, optional: Sequence[str] = ()) -> Network:
    """Read a frozen graph as a function of uint8 pictures [N, H, W, 3].

    Args:
        optional: outputs that it gives beside ``OUTPUTS`` if the graph has them.
    Raises:
        ExportError: the file is missing or damaged, or the graph is not a detector's.
    """
    graph = _read_graph(path)
    nodes = {node.name for node in graph.node}
    return _as_function(graph, path, [*OUTPUTS, *(name for name in optional if name in nodes)])


def batches_of_one_size(
    items: Iterable[Item], image_of: Callable[[Item], np.ndarray], *, images: int, pixels: int
) -> Iterator[list[Item]]:
    """Put neighbours together whose pictures have one size, in their order.

    Args:
        image_of: gives the picture [H, W, 3] of an item.
        images: the most of them in a batch, at least 1.
        pixels: the most in a batch of more than one picture.
    Yields:
        Lists that are not empty; none of no items.
    """
    batch: list[Item] = []
    for item in items:
        shape = image_of(item).shape
        full = len(batch) >= images or (len(batch) + 1) * shape[0] * shape[1] > pixels
        if batch and (full or shape != image_of(batch[0]).shape):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _checked(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for index, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(f"image {index} must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
        yield image


def _existing(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise ExportError(f"{folder}: is no exported detector, {name} is missing; name a folder that the export wrote")
    return folder / name


def read_label_map(path: Path) -> LabelMap:
    """Read the ``labels.pbtxt`` of an export folder.

    Raises:
        ExportError: it cannot be read.
    """
    try:
        return LabelMap.from_pbtxt(path.read_text(encoding="utf-8"))
    except (RecordError, UnicodeDecodeError, ValueError) as error:
        raise ExportError(f"{path}: cannot be read ({error}); export the detector again") from error


def _read_graph(path: Path) -> tf.compat.v1.GraphDef:
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror}); name a frozen graph") from None
    except DecodeError:
        raise ExportError(f"{path}: is damaged or no frozen graph; export the detector again") from None
    nodes = {node.name for node in graph.node}
    if missing := [name for name in (INPUT, *OUTPUTS) if name not in nodes]:
        raise ExportError(f"{path}: is no frozen detector, it lacks {', '.join(missing)}; export the detector again")
    return graph


def _as_function(graph: tf.compat.v1.GraphDef, path: Path, names: Sequence[str]) -> Network:
    try:
        function = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    except (ValueError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())
        raise ExportError(
            f"{path}: this TensorFlow {tf.__version__} cannot run it ({reason}); export the detector again"
        ) from error
    outputs = {name: function.graph.get_tensor_by_name(f"{name}:0") for name in names}
    return function.prune(function.graph.get_tensor_by_name(f"{INPUT}:0"), outputs)
