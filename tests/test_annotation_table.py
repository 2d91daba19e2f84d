from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from odml.annotation_table import AnnotationTable, table_of
from odml.listing import Listing
from odml.structures import Annotation

FOLDER = Path("/photos")
A = Annotation(FOLDER / "a.png", 40, 30)
B = Annotation(
    image=FOLDER / "b.png",
    width=20,
    height=10,
    boxes=np.array([[1, 2, 3.5, 4], [0, 0, 20, 10]], np.float32),
    names=("cat", "dog"),
    difficult=np.array([True, False]),
    truncated=np.array([False, True]),
    poses=("Left", "Unspecified"),
    crowd=np.array([False, True]),
)
C = Annotation(FOLDER / "c.png", 7, 5, np.array([[1, 1, 2, 2]], np.float32), ("Cat",))


def same(one: Annotation, other: Annotation) -> bool:
    return all(np.array_equal(*pair) for pair in zip(astuple(one), astuple(other), strict=True))


@pytest.fixture
def table() -> AnnotationTable:
    """Rows of c, a and b, of which a and c show the same; d has none."""
    table = AnnotationTable(Listing(FOLDER, [f"{stem}.png" for stem in "abcd"]))
    for annotation, number, digest, side in ((C, 2, "ab", "val"), (A, 0, "ab", None), (B, 1, "cd", "train")):
        table.append(annotation, number=number, digest=digest * 32, side=side)
    return table


def test_a_row_gives_the_annotation_again(table: AnnotationTable):
    assert all(same(one, other) for one, other in zip(table, (C, A, B), strict=True))
    assert table[-1].boxes.dtype == np.float32
    assert table[2].crowd.dtype == np.bool_  # type: ignore[union-attr]
    assert (len(table), table.objects) == (3, 3)


def test_rows_can_be_chosen_and_sorted(table: AnnotationTable):
    assert all(same(one, other) for one, other in zip(table[::2], (C, B), strict=True))
    ordered = table.sorted()
    assert all(same(one, other) for one, other in zip(ordered, (A, B, C), strict=True))
    assert ordered.sorted() is ordered


def test_what_pictures_show_and_are_for_is_known_by_their_paths(table: AnnotationTable):
    digests, sides = table.sorted().digests, table.sorted().sides
    assert dict(digests) == {A.image: "ab" * 32, B.image: "cd" * 32, C.image: "ab" * 32}
    assert dict(sides) == {B.image: "train", C.image: "val"}
    assert (len(digests), len(sides)) == (3, 2)
    for column, image in ((digests, FOLDER / "d.png"), (sides, A.image), (digests, Path("/elsewhere/a.png"))):
        assert image not in column


def test_classes_and_sides_can_be_replaced(table: AnnotationTable):
    renamed = table.renamed({"Cat": "cat"})
    assert [annotation.names for annotation in renamed] == [("cat",), (), ("cat", "dog")]
    assert [annotation.names for annotation in table] == [("Cat",), (), ("cat", "dog")]
    dealt = table.sorted().with_sides({A.image: "test", FOLDER / "d.png": "train"})
    assert dict(dealt.sides) == {A.image: "test"}


def test_a_table_of_some_annotations():
    table = table_of([C, A])
    assert all(same(one, other) for one, other in zip(table, (C, A), strict=True))
    assert len(table_of([])) == 0
