"""odml: from annotated photos to a registered, served object detector."""

__version__ = "0.1.0"
