"""The label map's file, with the case of the TF Object Detection API's label_map_util_test."""

from __future__ import annotations

import pytest

from odml.errors import RecordError
from odml.structures import LabelMap


def test_label_map_s_items_may_come_in_any_order():
    label_map = LabelMap.from_pbtxt("item { id: 2 name: 'cat' } item { id: 1 name: 'dog' }")
    assert label_map == LabelMap(("dog", "cat"))
    assert (label_map.id_of("dog"), label_map.id_of("cat")) == (1, 2)


def test_label_map_with_an_id_of_0_is_refused():
    with pytest.raises(RecordError) as error:
        LabelMap.from_pbtxt("item { id: 0 name: 'class that should be ignored' } item { id: 1 name: 'dog' }")
    assert str(error.value) == "label map: ids must be 1 to N without a gap, found [0, 1]"
