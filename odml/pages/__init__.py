"""Pages of one HTML file, with all their pictures in it: they open anywhere, also in MLflow's view of artifacts.

``layout.html`` is what they have in common: a template extends it and fills its blocks title, style and body.
"""

from odml.pages.rendering import data_uri, jpeg, png, template

__all__ = ["data_uri", "jpeg", "png", "template"]
