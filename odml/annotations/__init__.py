"""The formats of annotations that odml reads; a new one is a module here and a line below.

A format is a module with two functions:

    find_files(folder) -> list[Path]        the annotation files below a folder, sorted
    read_draft(file, *, where) -> Draft     what one of them says (odml.annotations.draft); it never raises for
                                            what the file holds: problems are part of the draft
"""

from odml.annotations import pascal_voc

FORMATS = {"pascal_voc": pascal_voc}
