"""The files.

Each takes ``normalized_input_image_tensor`` [1, H, W, 3], a picture of the network's input size: float32 scaled to
-1..1, or, for ``int8``, whose weights and activations are whole numbers of 8 bits, uint8 pixels as they are. Each ends
in the operation TFLite_Detection_PostProcess, whose float32 outputs come in this order:

    boxes    [1, N, 4]  yxyx, 0..1 of the picture, not clipped
    classes  [1, N]     from 0, without background: the lines of ``labels.txt``
    scores   [1, N]     0..1, descending
    count    [1]        how many rows of these are detections; what stands in those after them has no meaning

That operation's suppression does not look at classes: of boxes that overlap only the best stays, whatever its class.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from odml.architectures import SSD, Architecture
from odml.batches import evaluation_batches
from odml.config import Configuration, SSDConfiguration
from odml.errors import ConfigurationError, RecordError
from odml.export.folder import drawn_batches
from odml.forms import FORMS
from odml.records import Dataset
from odml.structures import LabelMap
from odml.tflite.agreement import Difference, check
from odml.tflite.conversion import Detector, convert_to_float16, convert_to_float32, convert_to_int8
from odml.tflite.metadata import LABELS_FILE, labels

logger = logging.getLogger(__name__)

FILES = {form: FORMS[f"tflite_{form}"].file for form in ("float32", "float16", "int8")}
_CALIBRATION_PICTURES = 100
_CHECKED_PICTURES = 4
# Of scores and boxes: weights of 16 bits give some 0.02 where a score is neither high nor low.
_TOLERANCES = {"float32": 1e-3, "float16": 0.05}


def parse_forms(text: str) -> list[str]:
    """Read forms with commas between, such as ``float32,int8``; empty is none.

    Raises:
        ConfigurationError: a form that does not exist.
    """
    forms = [form.strip() for form in text.split(",")] if text.strip() else []
    if unknown := [form for form in forms if form not in FILES]:
        raise ConfigurationError(f"tflite: there is no form {unknown[0]!r}; give one or several of {', '.join(FILES)}")
    return [form for form in FILES if form in forms]


def require_convertible(configuration: Configuration) -> None:
    """Refuse a detector that TensorFlow Lite cannot run.

    Raises:
        ConfigurationError: it is no SSD.
    """
    if not isinstance(configuration, SSDConfiguration):
        raise ConfigurationError(
            f"{configuration.architecture}: TensorFlow Lite has no operations for its proposals; "
            "train an SSD, or leave tflite and quantize as they are by default"
        )


def write(
    network: Architecture,
    folder: Path,
    *,
    forms: Sequence[str],
    label_map: LabelMap,
    dataset: Dataset | None = None,
) -> dict[str, Difference]:
    """Write the files of a network, and ``labels.txt``, into a folder.

    Before a file is written it is run and compared with the network: on the first validation pictures of the data set
    (training pictures if it has no others), on drawn ones without a data set.

    Args:
        forms: keys of FILES.
        dataset: its first training pictures, at most 100, tell int8 the range of each activation.
    Returns:
        What the comparison has found, for each form.
    Raises:
        ConfigurationError: the network is no SSD.
        ExportError: a file differs from the network; of int8 only the post-processing has to agree.
        RecordError: int8, and the data set has no training records.
        ValueError: int8 without a data set.
    """
    require_convertible(network.configuration)
    assert isinstance(network, SSD)
    detector = Detector(network, label_map.names)
    pictures = _pictures(network, dataset)
    differences = {}
    for form in forms:
        content = _convert(detector, form, dataset)
        found = check(FILES[form], content, network, pictures, tolerance=_TOLERANCES.get(form))
        (folder / FILES[form]).write_bytes(content)
        differences[form] = found
        logger.info(
            "%s: %.1f MB; scores differ from the network's by at most %.1g, boxes by %.1g",
            *(FILES[form], len(content) / 1e6, found.score, found.box),
        )
    (folder / LABELS_FILE).write_text(labels(label_map.names), encoding="utf-8")
    return differences


def _convert(detector: Detector, form: str, dataset: Dataset | None) -> bytes:
    if form == "float32":
        return convert_to_float32(detector)
    if form == "float16":
        return convert_to_float16(detector)
    if dataset is None:
        raise ValueError("int8 needs a data set to be calibrated with")
    if not dataset.train_examples:
        raise RecordError(
            f"{dataset.folder}: has no training records to calibrate int8 with; prepare it with a val_split below 100"
        )
    return convert_to_int8(detector, partial(_calibration, detector.network, dataset.train_records))


def _calibration(network: SSD, records: Sequence[Path | str]) -> Iterator[np.ndarray]:
    """Give pictures as the network's input x [1, H, W, 3]."""
    batches = evaluation_batches(records, batch_size=1, resize=network.resize, examples=_CALIBRATION_PICTURES)
    for number, batch in enumerate(batches):
        x = network.preprocess(batch["images"]).numpy()
        if not number:
            # Programs hand over pixels without asking for the input's scale: let it be that of all pixels, 0 to 255.
            x[0, 0, 0], x[0, 0, 1] = -1.0, 1.0
        yield x


def _pictures(network: SSD, dataset: Dataset | None) -> list[np.ndarray]:
    """Give pictures of the network's input size, uint8 [1, H, W, 3] each."""
    records = (dataset.val_records or dataset.train_records) if dataset else ()
    if records:
        batches = evaluation_batches(records, batch_size=1, resize=network.resize, examples=_CHECKED_PICTURES)
        images = [batch["images"] for batch in batches]
    else:
        images = [network.resize(tf.constant(image[None])) for batch in drawn_batches() for image in batch]
    return [tf.cast(tf.round(image), tf.uint8).numpy() for image in images]
