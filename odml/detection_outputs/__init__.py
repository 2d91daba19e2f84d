"""What is written of detections: one module for each kind; a new one is a module here and a line below.

An output (odml.detection_outputs.contract) gets one picture after the other and never holds more than one:

    write    leaves what belongs to one picture; called in several threads
    add      takes the pictures in their order, one at a time
    refuse   takes the reason why a picture cannot be read
    has      says whether what ``write`` leaves of a picture is there
    close    ends the files that speak of all pictures

Whatever is written appears whole or not at all (odml.detection_outputs.whole_files).
"""

from __future__ import annotations

from odml.detection_outputs.coco import COCO
from odml.detection_outputs.contract import Output, Result, Setup
from odml.detection_outputs.crops import Crops
from odml.detection_outputs.csv_table import CSVTable
from odml.detection_outputs.drawn import Drawn
from odml.detection_outputs.gallery import Gallery
from odml.detection_outputs.json_lines import JSONLines
from odml.detection_outputs.json_list import JSONList
from odml.detection_outputs.pascal_voc import PascalVOC
from odml.detection_outputs.yolo import YOLO
from odml.errors import ConfigurationError

OUTPUTS: dict[str, type[Output]] = {
    "drawn": Drawn,
    "gallery": Gallery,
    "json": JSONList,
    "jsonl": JSONLines,
    "csv": CSVTable,
    "coco": COCO,
    "pascal_voc": PascalVOC,
    "yolo": YOLO,
    "crops": Crops,
}

__all__ = ["OUTPUTS", "Output", "Result", "Setup", "parse_outputs"]


def parse_outputs(text: str) -> list[str]:
    """Read names of outputs with commas between, each once.

    Raises:
        ConfigurationError: an unknown name, or none at all.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in OUTPUTS]
    if unknown or not names:
        wrong = f"there is no {unknown[0]!r}" if unknown else "none is given"
        raise ConfigurationError(f"outputs: {wrong}; choose from {', '.join(OUTPUTS)}, with commas between")
    return names
