"""What an annotated set holds: problems and statistics, before anything is made of it.

annotated_set    every annotation and its picture -> an Inspection: what is usable, and all problems
"""

from odml.inspection.annotated_set import ClassCount, Inspection, count_classes, counted, inspect

__all__ = ["ClassCount", "Inspection", "count_classes", "counted", "inspect"]
