"""From usable annotations to a folder of records: split, encode, write, all or nothing."""

from odml.preparation.sides import by_source_id, ready_split, require_split, split_sources, usable_annotations
from odml.preparation.summary import class_table, metrics, sample_sheet
from odml.preparation.writing import require_room, write_dataset

__all__ = [
    "by_source_id",
    "class_table",
    "metrics",
    "ready_split",
    "require_room",
    "require_split",
    "sample_sheet",
    "split_sources",
    "usable_annotations",
    "write_dataset",
]
