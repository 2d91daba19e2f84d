"""Annotated pictures -> a folder of records with their descriptions."""

from __future__ import annotations

import glob
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from odml.engines import Engine, work_locally
from odml.errors import ConfigurationError, RecordError
from odml.preparation.sides import sides_of
from odml.preparation.whole_folders import all_or_nothing, names_in
from odml.progress import progress
from odml.records import (
    DATASET_FILE,
    IMAGES_FILE,
    SPLIT_FILE,
    Dataset,
    is_uri,
    join,
    open_dataset,
    write_description,
    write_text,
)
from odml.shards import Written, cut_shards, write_shard
from odml.structures import DIGEST_LENGTH, LABELS_FILE, SIDES, Annotation, LabelMap

# A process must import TensorFlow before it can write, in which time another could have written about so many.
_EXAMPLES_WORTH_A_PROCESS = 20_000
_DIGEST = np.dtype("S32")  # of SHA-256


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
    for name in sorted(names_in(folder)):
        is_record = name.endswith(".tfrecord") and name.startswith(records)
        if is_record or name in (DATASET_FILE, LABELS_FILE, SPLIT_FILE, IMAGES_FILE):
            raise RecordError(
                f"{join(folder, name)}: exists and is not overwritten; remove the old records or choose another folder"
            )


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
    order = {side: _order(split, side, seed) for side in sides_of(split)}
    label_map = LabelMap.of(name for annotation in sources.values() for name in annotation.names)
    description = {"name": name, **_layout(split, output_prefix), "seed": seed}
    with all_or_nothing(place) as part:
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
        with all_or_nothing(folder) as part:
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
    for side in sides_of(split):
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
