"""From usable annotations to a folder of records: split, encode, write, all or nothing."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from odml.drawing import draw_annotation, grid
from odml.errors import AnnotationError, ConfigurationError, RecordError
from odml.images import encode_upright, read_image
from odml.inspection import ClassCount, Inspection, count_classes, counted
from odml.parallel import parallel_map
from odml.progress import progress
from odml.records import (
    DATASET_FILE,
    LABELS_FILE,
    SPLIT_FILE,
    Dataset,
    open_dataset,
    serialize_example,
    write_description,
    write_records,
)
from odml.splitting import SIDES, stratified_split
from odml.structures import Annotation, LabelMap

_SAMPLES = 12
_DIGEST_LENGTH = 32  # MLflow keeps 36 characters of a data set's digest

_log = logging.getLogger(__name__)


def usable_annotations(inspection: Inspection, *, on_error: str) -> tuple[Annotation, ...]:
    """Give the annotations to prepare.

    Args:
        inspection: of the annotated set.
        on_error: "fail" raises if there is any error; "skip" leaves out what it makes unusable and logs how much.
    Raises:
        AnnotationError: there are errors, all of them listed; or nothing usable is left; or no picture has an object.
    """
    if on_error == "fail":
        inspection.require_no_errors()
    if inspection.errors:
        _log.warning(
            "left out annotation files: %d, single objects: %d (%s, first: %s)",
            inspection.dropped_files,
            inspection.dropped_objects,
            counted(inspection.errors),
            inspection.errors[0],
        )
    if not any(annotation.names for annotation in inspection.annotations):
        raise AnnotationError(
            f"annotations: no usable object in {len(inspection.annotations)} usable pictures; "
            "there is nothing to learn from: annotate some objects"
        )
    return inspection.annotations


def require_room(folder: Path | None, *, output_prefix: str = "") -> None:
    """Raise if records with that prefix cannot be written, or not without overwriting something in the folder.

    Raises:
        ConfigurationError: the prefix is not the beginning of a file name.
        RecordError: the folder, None for one that is yet to be made, has such files already.
    """
    if Path(output_prefix).name != output_prefix:
        raise ConfigurationError(
            f"output_prefix: {output_prefix!r} is not the beginning of a file name; leave out any /"
        )
    records = tuple(f"{output_prefix}{side}-" for side in SIDES)
    for path in sorted(folder.glob("*")) if folder else ():
        is_record = path.suffix == ".tfrecord" and path.name.startswith(records)
        if is_record or path.name in (DATASET_FILE, LABELS_FILE, SPLIT_FILE):
            raise RecordError(f"{path}: exists and is not overwritten; remove the old records or choose another folder")


def by_source_id(annotations: Iterable[Annotation], images: Path) -> dict[str, Annotation]:
    """Name each annotation by its picture's path below the folder of pictures, with "/" between folders."""
    return {annotation.image.relative_to(images).as_posix(): annotation for annotation in annotations}


def split_sources(sources: Mapping[str, Annotation], *, val_split: float, seed: int) -> dict[str, str]:
    """Give "train" or "val" for each source id, stratified by class; log which classes validation cannot judge."""
    classes = {source_id: annotation.names for source_id, annotation in sources.items()}
    split = stratified_split(classes, val_split=val_split, seed=seed)
    judged = {name for source_id, side in split.items() if side == "val" for name in classes[source_id]}
    missing = sorted({name for names in classes.values() for name in names} - judged)
    if missing and "val" in split.values():
        _log.warning("validation has no object of these classes: %s", ", ".join(missing))
    return split


def class_table(sources: Mapping[str, Annotation], split: Mapping[str, str]) -> list[dict[str, str | int]]:
    """Give a row for each class, sorted: on either side, how many pictures have it and how many objects there are."""
    train, val = (
        count_classes(sources[source_id] for source_id in split if split[source_id] == side) for side in SIDES
    )
    none = ClassCount(images=0, objects=0)
    return [
        {
            "class": name,
            "train_images": train.get(name, none).images,
            "train_objects": train.get(name, none).objects,
            "val_images": val.get(name, none).images,
            "val_objects": val.get(name, none).objects,
        }
        for name in sorted({*train, *val})
    ]


def metrics(sources: Mapping[str, Annotation], split: Mapping[str, str]) -> dict[str, float]:
    """Give the sizes of the data set: pictures on either side, background pictures, objects of each class."""
    counts = count_classes(sources.values())
    return {
        **{f"data/{side}_images": list(split.values()).count(side) for side in SIDES},
        "data/background_images": sum(not annotation.names for annotation in sources.values()),
        **{f"data/objects/{name}": count.objects for name, count in counts.items()},
    }


def sample_sheet(sources: Mapping[str, Annotation], label_map: LabelMap, *, seed: int) -> Image.Image:
    """Draw up to twelve pictures, which the seed chooses, with their boxes."""
    chosen = random.Random(seed).sample(sorted(sources), min(_SAMPLES, len(sources)))
    return grid([draw_annotation(read_image(sources[each].image), sources[each], label_map) for each in chosen])


def write_dataset(
    sources: Mapping[str, Annotation],
    split: Mapping[str, str],
    folder: Path,
    *,
    seed: int,
    name: str = "",
    output_prefix: str = "",
    max_file_size: int = 100,
) -> Dataset:
    """Write the records of annotated pictures, with labels.pbtxt, dataset.yml and split.json.

    The pictures are encoded in parallel and written as they come: memory holds a few of them, however many there
    are. Training examples are in an order that the seed draws, validation examples in that of their source ids.
    Whatever ends the work early, the folder is as it was.

    Args:
        sources: annotations by source id, at least one with an object.
        split: "train" or "val" for each source id.
        folder: where the files go; it is made if it does not exist.
        seed: of the training examples' order; recorded, as it is the split's too.
        name: what people call the data; recorded.
        output_prefix: what the names of the record files begin with.
        max_file_size: megabytes of a record file; 0 is no limit.
    Raises:
        RecordError: the folder has such files already.
        AnnotationError, ImageError: a picture has changed since it was inspected.
    """
    require_room(folder, output_prefix=output_prefix)
    label_map = LabelMap.of(name for annotation in sources.values() for name in annotation.names)
    with _all_or_nothing(folder) as part:
        digests: list[str] = []
        for side in SIDES:
            of_side = {source_id: sources[source_id] for source_id in _order(split, side, seed)}
            examples = _serialized(of_side, label_map, side, digests)
            write_records(examples, part, output_prefix + side, count=len(of_side), max_file_size=max_file_size)
        description = {"name": name, **_layout(split, output_prefix), "seed": seed, "digest": _joined(digests)}
        write_description(part, label_map, description)
        (part / SPLIT_FILE).write_text(json.dumps(split, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return open_dataset(folder)


def _order(split: Mapping[str, str], side: str, seed: int) -> list[str]:
    source_ids = sorted(source_id for source_id, its_side in split.items() if its_side == side)
    if side == "train":  # a shuffle buffer mixes neighbours only, and neighbours by name are often alike
        random.Random(seed).shuffle(source_ids)
    return source_ids


def _layout(split: Mapping[str, str], output_prefix: str) -> dict[str, int | str]:
    """Say how many examples there are and which files hold them."""
    prefix = glob.escape(output_prefix)
    layout: dict[str, int | str] = {}
    counts = Counter(split.values())
    for side in SIDES:
        layout |= {f"{side}_examples": counts[side], f"{side}_records": f"{prefix}{side}-*.tfrecord"}
    return layout


def _serialized(
    sources: Mapping[str, Annotation], label_map: LabelMap, side: str, digests: list[str]
) -> Iterator[bytes]:
    """Yield the serialized examples, and add a digest of each one's content to ``digests``."""
    encodings = parallel_map(lambda annotation: encode_upright(annotation.image), sources.values())
    pairs = zip(sources.items(), encodings, strict=True)
    for (source_id, annotation), (encoded, image_format, width, height) in progress(
        pairs, total=len(sources), description=f"writing {side} records"
    ):
        if (width, height) != (annotation.width, annotation.height):
            raise AnnotationError(f"{annotation.image}: has changed since it was inspected; prepare again")
        digests.append(_digest(annotation, encoded, side))
        yield serialize_example(annotation, label_map, encoded=encoded, image_format=image_format, source_id=source_id)


def _digest(annotation: Annotation, encoded: bytes, side: str) -> str:
    """Name the content of one example, wherever its picture lies and whatever it is called."""
    content = hashlib.sha256(hashlib.sha256(encoded).digest())
    content.update(np.asarray(annotation.boxes, "<f4").tobytes())
    content.update(np.array([annotation.difficult, annotation.truncated], np.uint8).tobytes())
    content.update(json.dumps([annotation.names, annotation.poses, side]).encode())
    return content.hexdigest()


def _joined(digests: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()[:_DIGEST_LENGTH]


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[Path]:
    """Give a folder to write in; its files move to ``folder`` at the end, or vanish if anything is raised."""
    made = not folder.exists()
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield part
        _move_files(part, folder)
    except BaseException:
        if made:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move_files(part: Path, folder: Path) -> None:
    """Move all files, dataset.yml last, because a folder without it is no data set."""
    folder.mkdir(exist_ok=True)
    moved: list[Path] = []
    try:
        for path in sorted(part.iterdir(), key=lambda path: (path.name == DATASET_FILE, path.name)):
            moved.append(path.rename(folder / path.name))
    except BaseException:
        for path in moved:
            path.unlink()
        raise
