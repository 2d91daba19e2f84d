"""COCO's classes: what a column of a released network stands for."""

from __future__ import annotations

from odml.structures import LabelMap

# Ids from 1 to 90; those of "" were dropped when the 2014 data set was published, no picture shows them.
_NAMES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep"),
    *("cow", "elephant", "bear", "zebra", "giraffe", "", "backpack", "umbrella", "", ""),
    *("handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat"),
    *("baseball glove", "skateboard", "surfboard", "tennis racket", "bottle", "", "wine glass", "cup", "fork"),
    *("knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza"),
    *("donut", "cake", "chair", "couch", "potted plant", "bed", "", "dining table", "", "", "toilet", "", "tv"),
    *("laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator"),
    *("", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)

# The 90 ids that the released networks know; an id without a class has a name that says so.
LABEL_MAP = LabelMap(tuple(name or f"unused {number}" for number, name in enumerate(_NAMES, start=1)))
UNUSED = frozenset(f"unused {number}" for number, name in enumerate(_NAMES, start=1) if not name)
