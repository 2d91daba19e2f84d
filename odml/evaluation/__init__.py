"""How good detections are, by the measures of COCO, Pascal VOC and TIDE; knows no network, no picture and no file.

``difficult`` objects count as Pascal VOC's development kit has it: one that is not found is no miss, and
detections of it are neither right nor wrong. So do COCO's crowds, but that what counts for them is how much of the
detection lies in their box, not the IoU. As in COCO, the 100 best detections of each class in a picture count.
"""

from odml.evaluation.analysis import Analysis, analyse
from odml.evaluation.coco import ClassResult, Evaluation, evaluate

__all__ = ["Analysis", "ClassResult", "Evaluation", "analyse", "evaluate"]
