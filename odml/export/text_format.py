"""Protobuf's text format, of messages that are plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Symbol(str):
    """A value of an enumeration, which the text format writes without quotes."""


def to_text(message: Mapping[str, Any]) -> str:
    """Write a message in protobuf's text format: a dict is a message, a list a repeated field."""
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for name, values in message.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, Mapping):
                yield f"{indent}{name} {{"
                yield from _lines(value, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{name}: {_scalar(value)}"


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and not isinstance(value, Symbol):
        return f'"{value}"'
    return str(value)
