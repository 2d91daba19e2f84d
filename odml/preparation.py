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
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from types import MappingProxyType

import numpy as np
import tensorflow as tf
from PIL import Image

from odml.drawing import draw_annotation, grid
from odml.engines import Engine, work_locally
from odml.errors import AnnotationError, ConfigurationError, RecordError
from odml.images import read_image
from odml.inspection import ClassCount, Inspection, count_classes, counted
from odml.progress import progress
from odml.records import (
    DATASET_FILE,
    IMAGES_FILE,
    SPLIT_FILE,
    Dataset,
    file_errors,
    is_uri,
    join,
    open_dataset,
    write_description,
    write_text,
)
from odml.shards import Written, cut_shards, write_shard
from odml.splitting import compile_group_by, group_of, group_pictures, stratified_split
from odml.structures import DIGEST_LENGTH, LABELS_FILE, SIDES, Annotation, LabelMap

_SAMPLES = 12
# A process must import TensorFlow before it can write, in which time another could have written about so many.
_EXAMPLES_WORTH_A_PROCESS = 20_000
_DIGEST = np.dtype("S32")  # of SHA-256

_log = logging.getLogger(__name__)


def usable_annotations(inspection: Inspection, *, on_error: str) -> Sequence[Annotation]:
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
            "left out pictures: %d, single objects: %d (%s, first: %s)",
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


def require_room(folder: Path | str | None, *, output_prefix: str = "") -> None:
    """Raise if records with that prefix cannot be written, or not without overwriting something in the folder.

    Args:
        folder: a path, or a URI that TensorFlow knows; None for one that is yet to be made.
        output_prefix: what the names of the record files begin with.
    Raises:
        ConfigurationError: the prefix is not the beginning of a file name.
        RecordError: the folder has such files already, or TensorFlow does not know the URI.
    """
    if Path(output_prefix).name != output_prefix:
        raise ConfigurationError(
            f"output_prefix: {output_prefix!r} is not the beginning of a file name; leave out any /"
        )
    records = tuple(f"{output_prefix}{side}-" for side in SIDES)
    if not folder:
        return
    for name in sorted(_names_in(folder)):
        is_record = name.endswith(".tfrecord") and name.startswith(records)
        if is_record or name in (DATASET_FILE, LABELS_FILE, SPLIT_FILE, IMAGES_FILE):
            raise RecordError(
                f"{join(folder, name)}: exists and is not overwritten; remove the old records or choose another folder"
            )


class Sources(Mapping[str, Annotation]):
    """Annotations by source id, of which only their places are kept."""

    def __init__(self, annotations: Sequence[Annotation], places: dict[str, int]) -> None:
        self._annotations, self._places = annotations, places

    def __getitem__(self, source_id: str) -> Annotation:
        return self._annotations[self._places[source_id]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def only(self, source_ids: Iterable[str]) -> Sources:
        """Give those with these source ids, in their order."""
        return Sources(self._annotations, {source_id: self._places[source_id] for source_id in source_ids})


def by_source_id(annotations: Sequence[Annotation], images: Path) -> Sources:
    """Name each annotation by its picture's path below the folder of pictures, with "/" between folders."""
    paths = (annotation.image for annotation in annotations)
    return Sources(annotations, {path.relative_to(images).as_posix(): place for place, path in enumerate(paths)})


def require_split(*, val_split: float, test_split: float, group_by: str) -> None:
    """Raise ConfigurationError if the shares are more than all pictures, or ``group_by`` is no regular expression."""
    if val_split + test_split > 100:
        raise ConfigurationError(
            f"val_split and test_split: {val_split:g} and {test_split:g} are more than 100 percent together; lower one"
        )
    compile_group_by(group_by)


def split_sources(
    sources: Mapping[str, Annotation],
    *,
    val_split: float,
    test_split: float = 0,
    seed: int,
    group_by: str = "",
    looks: Mapping[Path, Hashable] = MappingProxyType({}),
) -> dict[str, str]:
    """Give "train", "val" or "test" for each source id, stratified by class; log how, and what validation cannot judge.

    Args:
        sources: annotations by source id.
        val_split: percent of the pictures for validation.
        test_split: percent of the pictures for the test.
        seed: of what is left to chance.
        group_by: a regular expression, searched in the file name, or if it is not there in the source id. Pictures of
            which it finds the same stay on one side, and those of which it finds nothing stand alone.
        looks: what the pictures look like; those with the same stay on one side.
    Raises:
        ConfigurationError: ``group_by`` is no regular expression, or finds nothing in any picture.
    """
    known: dict[frozenset[str], frozenset[str]] = {}  # most pictures have one of a few sets of classes
    sets = ((source_id, frozenset(annotation.names)) for source_id, annotation in sources.items())
    classes = {source_id: known.setdefault(names, names) for source_id, names in sets}
    groups = _groups(sources, group_by, looks)
    split = stratified_split(classes, val_split=val_split, test_split=test_split, seed=seed, groups=groups)
    _log_split(split, f"drawn with val_split={val_split:g}, test_split={test_split:g}, seed={seed}")
    _warn_of_missing_classes(sources, split)
    return split


def ready_split(sources: Mapping[str, Annotation], inspection: Inspection) -> dict[str, str]:
    """Give the side, in the split that the set comes with, of each source id that has one; log what it is made of.

    Raises:
        AnnotationError: no usable picture is for training.
    """
    sides = inspection.sides
    found = ((source_id, sides.get(sources[source_id].image)) for source_id in sorted(sources))
    split = {source_id: side for source_id, side in found if side}
    if "train" not in split.values():
        raise AnnotationError(f"{inspection.split_origin}: no usable picture is for training; correct the split")
    _log_split(split, f"as it is in {inspection.split_origin}; val_split, test_split and group_by do not count")
    if left := [source_id for source_id in sources if source_id not in split]:
        _log.warning(
            "%d of %d pictures are on no side of it, first: %s; they are left out", len(left), len(sources), min(left)
        )
    _warn_of_missing_classes(sources, split)
    return split


def _groups(sources: Mapping[str, Annotation], group_by: str, looks: Mapping[Path, Hashable]) -> list[list[str]]:
    """Give the pictures that must not be parted, by name or by content; log how many they are."""
    if not group_by:
        return group_pictures(sources, lambda source_id: [_look(sources[source_id], source_id, looks)])
    pattern = compile_group_by(group_by)
    found = {source_id: group for source_id in sources if (group := group_of(source_id, pattern)) is not None}
    if not found:
        raise ConfigurationError(f"group_by: {group_by!r} is in no file name, such as {min(sources)}; correct it")

    def keys_of(source_id: str) -> list[Hashable]:
        return [_look(sources[source_id], source_id, looks), ("name", found.get(source_id) or source_id)]

    count = len(set(found.values()))
    _log.info("group_by: %d pictures in %d groups, %d without one", len(found), count, len(sources) - len(found))
    return group_pictures(sources, keys_of)


def _look(annotation: Annotation, source_id: str, looks: Mapping[Path, Hashable]) -> Hashable:
    return "look", looks.get(annotation.image, source_id)


def _log_split(split: Mapping[str, str], how: str) -> None:
    counts = Counter(split.values())
    _log.info("split: %s (%s)", ", ".join(f"{counts[side]} {side}" for side in SIDES if counts[side]), how)


def _warn_of_missing_classes(sources: Mapping[str, Annotation], split: Mapping[str, str]) -> None:
    names: dict[str, set[str]] = {side: set() for side in SIDES}
    for source_id, side in split.items():
        names[side].update(sources[source_id].names)
    missing = sorted(set().union(*names.values()) - names["val"])
    if missing and "val" in split.values():
        _log.warning("validation has no object of these classes: %s", ", ".join(missing))


def class_table(sources: Mapping[str, Annotation], split: Mapping[str, str]) -> list[dict[str, str | int]]:
    """Give a row for each class, sorted: on each side, how many pictures have it and how many objects there are."""
    counts = {
        side: count_classes(sources[source_id] for source_id in split if split[source_id] == side)
        for side in _sides_of(split)
    }
    rows: list[dict[str, str | int]] = []
    for name in sorted({name for of_side in counts.values() for name in of_side}):
        row: dict[str, str | int] = {"class": name}
        for side, of_side in counts.items():
            count = of_side.get(name, ClassCount(images=0, objects=0))
            row |= {f"{side}_images": count.images, f"{side}_objects": count.objects}
        rows.append(row)
    return rows


def metrics(sources: Mapping[str, Annotation], split: Mapping[str, str]) -> dict[str, float]:
    """Give the sizes of the data set: pictures on each side, background pictures, objects of each class."""
    counts = count_classes(sources.values())
    return {
        **{f"data/{side}_images": list(split.values()).count(side) for side in _sides_of(split)},
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
    records_folder: str = "",
    engine: Engine = work_locally,
) -> Dataset:
    """Write the records of annotated pictures, with labels.pbtxt, dataset.yml, split.json and images.sha256.

    The pictures are encoded in parallel and written as they come: memory holds a few of them, however many there
    are. Training examples are in an order that the seed draws, the others in that of their source ids; the files are
    the same whatever the engine. Whatever ends the work early, the folders are as they were.

    Args:
        sources: annotations by source id, at least one with an object.
        split: "train", "val" or "test" for each source id.
        folder: where the files go; it is made if it does not exist.
        seed: of the training examples' order; recorded, as it is the split's too.
        name: what people call the data; recorded.
        output_prefix: what the names of the record files begin with.
        max_file_size: megabytes of a record file; 0 is no limit.
        records_folder: a path, or a URI that TensorFlow knows, that gets all of it in place of ``folder``; this then
            has only the four descriptions, of which dataset.yml says where the records are.
        engine: who writes them.
    Raises:
        RecordError: a folder has such files already, or cannot be written to.
        AnnotationError, ImageError: a picture has changed since it was inspected.
    """
    place = records_folder if is_uri(records_folder) else Path(records_folder).resolve() if records_folder else folder
    require_room(place, output_prefix=output_prefix)
    order = {side: _order(split, side, seed) for side in _sides_of(split)}
    label_map = LabelMap.of(name for annotation in sources.values() for name in annotation.names)
    description = {"name": name, **_layout(split, output_prefix), "seed": seed}
    with _all_or_nothing(place) as part:
        shards = (
            shard
            for side, source_ids in order.items()
            for shard in cut_shards(
                sources,
                source_ids,
                str(part),
                output_prefix + side,
                side=side,
                label_map=label_map,
                max_file_size=max_file_size,
            )
        )
        with closing(engine(write_shard, shards, worth=len(split) // _EXAMPLES_WORTH_A_PROCESS)) as results:
            digests = (digest for some in results for digest in some)
            contents, files = _columns(progress(digests, total=len(split), description="writing examples"))
        description["digest"] = _joined(contents)
        images = _DigestLines([source_id for some in order.values() for source_id in some], files)
        _describe(part, label_map, description, split, images)
    if records_folder:
        with _all_or_nothing(folder) as part:
            _describe(part, label_map, {**description, "records_folder": str(place)}, split, images)
    return open_dataset(folder)


def _describe(
    folder: Path | str,
    label_map: LabelMap,
    description: dict[str, int | str],
    split: Mapping[str, str],
    images: Iterable[str],
) -> None:
    write_text(join(folder, SPLIT_FILE), [json.dumps(split, indent=1, ensure_ascii=False), "\n"])
    write_text(join(folder, IMAGES_FILE), images)
    write_description(folder, label_map, description)


def _sides_of(split: Mapping[str, str]) -> list[str]:
    """Give the sides that a data set tells of: a test only if there is one."""
    return [side for side in SIDES if side != "test" or side in split.values()]


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
    for side in _sides_of(split):
        layout |= {f"{side}_examples": counts[side], f"{side}_records": f"{prefix}{side}-*.tfrecord"}
    return layout


def _columns(written: Iterable[Written]) -> tuple[np.ndarray, np.ndarray]:
    """Give the digests of contents and of files, as bytes S32 [N] each."""
    contents, files = bytearray(), bytearray()
    for each in written:
        contents += bytes.fromhex(each.content)
        files += bytes.fromhex(each.file)
    return np.frombuffer(contents, _DIGEST), np.frombuffer(files, _DIGEST)


def _hexadecimal(digest: bytes) -> str:
    return digest.ljust(_DIGEST.itemsize, b"\0").hex()  # numpy leaves out zeros at the end


def _joined(contents: np.ndarray) -> str:
    """Give one digest for those of all examples, whatever their order."""
    joined = hashlib.sha256()
    for number, digest in enumerate(np.sort(contents)):
        joined.update(b"\n" * (number > 0) + _hexadecimal(digest).encode())
    return joined.hexdigest()[:DIGEST_LENGTH]


class _DigestLines(Iterable[str]):
    """The lines of images.sha256, sorted by source id, as ``sha256sum`` writes and checks them."""

    def __init__(self, source_ids: Sequence[str], digests: np.ndarray) -> None:
        self._source_ids, self._digests = source_ids, digests

    def __iter__(self) -> Iterator[str]:
        for place in sorted(range(len(self._source_ids)), key=self._source_ids.__getitem__):
            name = self._source_ids[place]
            escaped = name.replace("\\", "\\\\").replace("\n", "\\n")
            yield f"{'' if escaped == name else chr(92)}{_hexadecimal(self._digests[place])}  {escaped}\n"


def _names_in(folder: Path | str) -> list[str]:
    with file_errors(folder):
        return tf.io.gfile.listdir(str(folder)) if tf.io.gfile.isdir(str(folder)) else []


def _all_or_nothing(folder: Path | str) -> AbstractContextManager[Path | str]:
    """Give a folder to write in, so that what is written is in ``folder`` at the end, or nowhere if anything is raised.

    Where moving is copying, in the file systems of URIs, it is the folder itself.
    """
    return _removed_on_error(str(folder)) if is_uri(folder) else _moved_at_the_end(Path(folder))


@contextmanager
def _removed_on_error(folder: str) -> Iterator[str]:
    with file_errors(folder):
        tf.io.gfile.makedirs(folder)
    before = set(_names_in(folder))
    try:
        yield folder
    except BaseException:
        for name in set(_names_in(folder)) - before:
            tf.io.gfile.remove(f"{folder}/{name}")
        raise


@contextmanager
def _moved_at_the_end(folder: Path) -> Iterator[Path]:
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
