"""Training pictures as a network sees them: resized, augmented, with the boxes that are left."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from odml import batches, drawing, preparation
from odml.boxes import yxyx_to_xyxy
from odml.config import Augmentation
from odml.records import Dataset
from odml.structures import Annotation


def draw_training_pictures(
    sources: Mapping[str, Annotation], *, pictures: int, resize: batches.Resize, augment: Augmentation, seed: int
) -> Image.Image:
    """Draw the first pictures of a training on these annotations, one sheet of them, by way of real records.

    Args:
        sources: annotations by source id, as ``preparation.by_source_id`` gives them; at least one with an object.
        pictures: how many; of fewer sources some are seen again, in another way.
        resize: the architecture's.
        augment: which random changes to make.
        seed: draws the order and the changes.
    """
    with tempfile.TemporaryDirectory(prefix="odml-") as folder:
        sides = dict.fromkeys(sources, "train")
        dataset = preparation.write_dataset(sources, sides, Path(folder, "dataset"), seed=seed)
        loaded = batches.training_batches(dataset, batch_size=pictures, resize=resize, augment=augment, seed=seed)
        batch = {name: values.numpy() for name, values in next(iter(loaded)).items()}
    return drawing.grid([_draw(batch, number, dataset) for number in range(pictures)])


def _draw(batch: Mapping[str, np.ndarray], number: int, dataset: Dataset) -> Image.Image:
    height, width = batch["sizes"][number].tolist()
    image = np.clip(np.round(batch["images"][number, :height, :width]), 0, 255).astype(np.uint8)
    objects = batch["classes"][number] > 0
    annotation = Annotation(
        image=Path(),
        width=width,
        height=height,
        boxes=yxyx_to_xyxy(batch["boxes"][number][objects], width=width, height=height),
        names=tuple(map(dataset.label_map.name_of, batch["classes"][number][objects].tolist())),
    )
    return drawing.draw_annotation(image, annotation, dataset.label_map)
