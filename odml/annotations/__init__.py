"""The formats of annotations that odml reads; a new one is a module here and a line below.

A format is a module with a name for people and two functions; ``annotations`` is the folder or file that the user
gave, ``index`` (odml.image_index) the pictures:

    TITLE                                       "Pascal VOC"
    recognise(annotations, index) -> str        by what the annotations are known as this format, "" if they are not
    read(annotations, index) -> AnnotatedSet    an entry a picture and the split that the set comes with
                                                (odml.annotations.contract)

An entry reads its Draft (odml.annotations.draft) when it is asked to, and never raises for what a file holds:
problems are values. `read` itself raises AnnotationError where nothing at all can be made of the folder.
"""

from __future__ import annotations

import logging
from pathlib import Path

from odml.annotations import coco, pascal_voc, yolo
from odml.annotations.contract import AnnotatedSet
from odml.errors import AnnotationError
from odml.image_index import ImageIndex

FORMATS = {"pascal_voc": pascal_voc, "coco": coco, "yolo": yolo}

_log = logging.getLogger(__name__)


def read(annotations: Path, index: ImageIndex, *, annotation_format: str = "auto") -> AnnotatedSet:
    """Read an annotated set; log which format it has.

    Args:
        annotations: the folder or file that holds the annotations.
        index: the pictures.
        annotation_format: a key of FORMATS, or "auto", which looks at the files.
    Raises:
        AnnotationError: nothing can be made of the annotations, or "auto" recognises no format or several.
    """
    if annotation_format == "auto":
        annotation_format = _recognise(annotations, index)
    return FORMATS[annotation_format].read(annotations, index)


def _recognise(annotations: Path, index: ImageIndex) -> str:
    reasons = {name: form.recognise(annotations, index) for name, form in FORMATS.items()}
    known = {name: reason for name, reason in reasons.items() if reason}
    if not known:
        raise AnnotationError(
            f"{annotations}: holds no annotations that odml knows (Pascal VOC XML, COCO JSON or YOLO txt files); "
            "give their folder, or say what they are with format="
        )
    if len(known) > 1:
        found = "; ".join(f"{FORMATS[name].TITLE} ({reason})" for name, reason in known.items())
        choices = " or ".join(f"format={name}" for name in known)
        raise AnnotationError(f"{annotations}: holds annotations of several formats: {found}; choose with {choices}")
    ((name, reason),) = known.items()
    _log.info("annotations: %s (format=%s): %s", FORMATS[name].TITLE, name, reason)
    return name
