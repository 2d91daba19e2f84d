"""Names of metrics and parameters in the alphabet that MLflow takes."""

from __future__ import annotations

import hashlib
import re

MAX_LENGTH = 250
_REFUSED = re.compile(r"[^/\w.\- ]")
_REFUSED_SEGMENTS = {"": "::", ".": ":2e:", "..": ":2e::2e:"}


def mlflow_name(name: str) -> str:
    """Give the name in MLflow's alphabet: letters, digits, ``_ - . /``, spaces and colons.

    Every other character, and the colon itself, becomes its code point in hexadecimal between colons: ``mAP@.5``
    is ``mAP:40:.5``. Empty parts between slashes become ``::``, the parts ``.`` and ``..`` are spelled out. So
    different names stay different; names over 250 characters are cut and end in a digest of the whole.
    """
    escaped = _REFUSED.sub(lambda match: f":{ord(match[0]):x}:", name)
    escaped = "/".join(_REFUSED_SEGMENTS.get(segment, segment) for segment in escaped.split("/"))
    if len(escaped) <= MAX_LENGTH:
        return escaped
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{escaped[: MAX_LENGTH - 18]}:{digest}:"
