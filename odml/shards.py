"""Shards: a data set's examples cut into parts that can be written anywhere, in any order, to the same files.

Where a part begins follows from the sizes of the pictures' files alone, and `write_shard` from its part alone: whoever
writes the parts, and however many at once, the records are the same byte by byte.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from odml.annotation_table import AnnotationTable, table_of
from odml.errors import AnnotationError, ImageError
from odml.images import encode_upright
from odml.parallel import parallel_map
from odml.records import RECORD_OVERHEAD, megabytes, serialize_example, write_records
from odml.structures import Annotation, LabelMap

# Of an example beside its picture: what it has in any case, and for each object and letter. Held by a test.
_EXAMPLE_BYTES = 600
_OBJECT_BYTES = 32


@dataclass(frozen=True)
class Shard:
    """Examples of one side that follow one another, to be written into one file.

    Should they turn out larger than foreseen, which only pictures do that are encoded anew, it becomes several files.

    ``annotations`` are in the records' order, as are their ``source_ids``; ``folder`` is a path or a URI, which the
    writing process must reach, as it must the pictures. ``name`` begins the files' names; ``first`` is the number,
    from 1, of the first example among the ``count`` of the side; ``max_file_size`` is in megabytes, 0 for no limit.
    """

    folder: str
    name: str
    side: str
    source_ids: tuple[str, ...]
    annotations: AnnotationTable
    label_map: LabelMap
    first: int
    count: int
    max_file_size: int


class Written(NamedTuple):
    """SHA-256, in hexadecimal digits, of what was written of one example: its content, and its picture's file."""

    content: str
    file: str


def cut_shards(
    sources: Mapping[str, Annotation],
    order: Sequence[str],
    folder: str,
    name: str,
    *,
    side: str,
    label_map: LabelMap,
    max_file_size: int,
) -> Iterator[Shard]:
    """Cut the examples of one side into shards that are foreseen not to exceed the size of a file.

    Args:
        sources: annotations by source id, those of the other sides too.
        order: the source ids of the side, in the order of its examples; none give no shard.
        folder: as that of `Shard`; so are the others.
    Raises:
        ImageError: the file of a picture is gone.
    """
    limit = megabytes(max_file_size)
    part: list[str] = []
    size, first = 0.0, 1

    def shard() -> Shard:
        annotations = table_of(sources[source_id] for source_id in part)
        return Shard(folder, name, side, tuple(part), annotations, label_map, first, len(order), max_file_size)

    for source_id in order:
        # Without a limit all are one shard, however large; then no file need be looked at.
        foreseen = foresee_bytes(source_id, sources[source_id]) if limit < math.inf else 0
        if part and size + foreseen > limit:
            yield shard()
            first, part, size = first + len(part), [], 0
        part.append(source_id)
        size += foreseen
    if part:
        yield shard()


def foresee_bytes(source_id: str, annotation: Annotation) -> int:
    """Say how many bytes of a file an example takes at most, if its picture is not encoded anew.

    Raises:
        ImageError: the picture's file is gone.
    """
    try:
        picture = annotation.image.stat().st_size
    except OSError as error:
        raise ImageError(f"{annotation.image}: cannot be read ({error.strerror}); prepare again") from error
    texts = 2 * len(source_id.encode()) + sum(
        len(name.encode()) + len(pose.encode())
        for name, pose in zip(annotation.names, annotation.poses or (), strict=True)
    )
    return picture + texts + _EXAMPLE_BYTES + _OBJECT_BYTES * len(annotation.names) + RECORD_OVERHEAD


def write_shard(shard: Shard, *, threads: int = 1) -> list[Written]:
    """Write the records of a shard and give the digests of each example, in their order.

    Memory holds a few examples for each thread that encodes them, however many the shard has.

    Raises:
        AnnotationError, ImageError: a picture has changed since it was inspected.
        RecordError: the folder cannot be written to.
    """
    digests: list[Written] = []
    write_records(
        _serialized(shard, digests, threads),
        shard.folder,
        shard.name,
        count=shard.count,
        max_file_size=shard.max_file_size,
        first=shard.first,
        last=shard.first + len(shard.source_ids) - 1,
    )
    return digests


def _serialized(shard: Shard, digests: list[Written], threads: int) -> Iterator[bytes]:
    """Yield the serialized examples, and add the digests of each one to ``digests``."""
    encodings = parallel_map(_encode, shard.annotations.images, workers=threads)
    rows = zip(shard.source_ids, shard.annotations, encodings, strict=True)
    for source_id, annotation, (file, (encoded, image_format, width, height)) in rows:
        if (width, height) != (annotation.width, annotation.height):
            raise AnnotationError(f"{annotation.image}: has changed since it was inspected; prepare again")
        digests.append(Written(_digest(annotation, encoded, shard.side), file))
        yield serialize_example(
            annotation, shard.label_map, encoded=encoded, image_format=image_format, source_id=source_id
        )


def _encode(image: Path) -> tuple[str, tuple[bytes, str, int, int]]:
    """Give the digest of a picture's file, and what `encode_upright` makes of it."""
    try:
        stored = image.read_bytes()
    except OSError as error:
        raise ImageError(f"{image}: cannot be read ({error.strerror}); prepare again") from error
    return hashlib.sha256(stored).hexdigest(), encode_upright(stored, where=str(image))


def _digest(annotation: Annotation, encoded: bytes, side: str) -> str:
    """Name the content of one example, wherever its picture lies and whatever it is called."""
    content = hashlib.sha256(hashlib.sha256(encoded).digest())
    content.update(np.asarray(annotation.boxes, "<f4").tobytes())
    content.update(np.array([annotation.difficult, annotation.truncated], np.uint8).tobytes())
    if np.any(annotation.crowd):
        content.update(np.asarray(annotation.crowd, np.uint8).tobytes())
    content.update(json.dumps([annotation.names, annotation.poses, side]).encode())
    return content.hexdigest()
