"""The label map's file, with the case of the TF Object Detection API's label_map_util_test."""

from __future__ import annotations

import pytest

from odml.errors import RecordError
from odml.structures import LabelMap


def test_label_map_s_items_may_come_in_any_order():
    label_map = LabelMap.from_pbtxt("item { id: 2 name: 'cat' } item { id: 1 name: 'dog' }")
    assert label_map == LabelMap(("dog", "cat"))
    assert (label_map.id_of("dog"), label_map.id_of("cat")) == (1, 2)


def test_label_map_with_gaps_keeps_the_ids():
    label_map = LabelMap.from_pbtxt("item { id: 4 name: 'cat' } item { id: 1 name: 'dog' }")
    assert label_map.names == ("dog", "unused 2", "unused 3", "cat")
    assert label_map.unused == (2, 3)


def test_label_map_has_display_names_as_aliases():
    text = "item { name: '/m/01yrx' id: 1 display_name: 'Cat' } item { display_name: 'dog' id: 2 name: 'dog' }"
    label_map = LabelMap.from_pbtxt(text)
    assert label_map == LabelMap(("/m/01yrx", "dog"))
    assert label_map.aliases == (("Cat", 1),)


def test_label_map_may_have_comments_other_fields_and_escapes():
    text = """
    # made by hand: item {
    item: {
      name: "c# = \\303\\251" # its name
      keypoints { id: 7 label: "nose" }
      display_name: 'id: 9 }',
      id: 1
    }
    item{id:0 name:'background'}
    """
    label_map = LabelMap.from_pbtxt(text)
    assert label_map == LabelMap(("c# = é",))
    assert label_map.aliases == (("id: 9 }", 1),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no item; give the one that the records were made with"),
        ("item { id: 1 }", "an item has no id or no name: 'id: 1'"),
        ("item { name: 'id: 1' }", """an item has no id or no name: "name: 'id: 1'\""""),
        ("item { id: 0 name: 'dog' }", "'dog' has the id 0; ids must be from 1 to 10000"),
        ("item { id: 10001 name: 'dog' }", "'dog' has the id 10001; ids must be from 1 to 10000"),
        (
            "item { id: 1 name: 'dog' } item { id: 1 name: 'cat' }",
            "two items have the id 1 or the name 'cat'; correct one",
        ),
        (
            "item { id: 1 name: 'dog' } item { id: 2 name: 'dog' }",
            "two items have the id 2 or the name 'dog'; correct one",
        ),
    ],
)
def test_label_map_that_cannot_be_used(text, message):
    with pytest.raises(RecordError) as error:
        LabelMap.from_pbtxt(text)
    assert str(error.value) == f"label map: {message}"
