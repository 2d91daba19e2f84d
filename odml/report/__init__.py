"""What an evaluation shows to people and to other programs: charts, pictures, one HTML page, COCO files."""

from odml.report.charts import draw_charts
from odml.report.coco_files import write_ground_truth, write_predictions
from odml.report.page import write_page
from odml.report.speed import Speed, Timed
from odml.report.worst import WorstPicture, draw_worst

__all__ = [
    "Speed",
    "Timed",
    "WorstPicture",
    "draw_charts",
    "draw_worst",
    "write_ground_truth",
    "write_page",
    "write_predictions",
]
