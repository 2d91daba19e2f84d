"""What evaluations show to people and to other programs: charts, pictures, HTML pages, COCO files."""

from odml.report.charts import draw_charts
from odml.report.coco_files import read_ground_truth, read_predictions, write_ground_truth, write_predictions
from odml.report.differences import Side, comparison_text, draw_disagreements, write_comparison
from odml.report.page import write_page
from odml.report.speed import Speed, Timed
from odml.report.worst import WorstPicture, draw_worst

__all__ = [
    "Side",
    "Speed",
    "Timed",
    "WorstPicture",
    "comparison_text",
    "draw_charts",
    "draw_disagreements",
    "draw_worst",
    "read_ground_truth",
    "read_predictions",
    "write_comparison",
    "write_ground_truth",
    "write_page",
    "write_predictions",
]
