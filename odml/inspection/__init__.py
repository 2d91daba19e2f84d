"""What an annotated set holds: problems and statistics, before anything is made of it.

annotated_set     every annotation and its picture -> an Inspection: what is usable, and all problems
pictures          what a picture file is, and what is odd about it
looks             which pictures look alike
fitting           boxes laid on the picture that is there, and mended if they are to be
objects           what is suspicious about the boxes of one picture
whole_set         what shows only when all pictures are seen together
statistics        classes, sizes, shapes in numbers, and advice
charts            the same drawn
problem_pictures  problems drawn
page              all of it on one HTML page
"""

from odml.inspection.annotated_set import ClassCount, Inspection, count_classes, counted, inspect

__all__ = ["ClassCount", "Inspection", "count_classes", "counted", "inspect"]
