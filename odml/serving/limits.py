"""How much a request may ask of the server, and what beside the request it may read: the operator's environment.

ODML_SERVE_MAX_ROWS           pictures in a request, 64; asked only where a server answers, not in Spark
ODML_SERVE_MAX_IMAGE_BYTES    of an encoded picture, 33554432
ODML_SERVE_MAX_PIXELS         of a decoded picture, 50000000: some 0.8 GB while it is detected in
ODML_SERVE_MAX_REQUEST_BYTES  of a request's body, 67108864; held by the operation serve, not by MLflow's server
ODML_SERVE_PATHS              folders that the column path may name files below, ":" between them; none
ODML_SERVE_URLS               addresses that the column url may name something below, spaces between them; none
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from odml.errors import ConfigurationError

# MLflow's scoring server sets it for its models.
_SERVED = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"


@dataclass(frozen=True)
class Limits:
    """The most that a request may ask for."""

    max_rows: int = 64
    max_image_bytes: int = 2**25
    max_pixels: int = 50_000_000
    max_request_bytes: int = 2**26

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Limits:
        """Read the limits.

        Raises:
            ConfigurationError: one is no whole number of at least 1.
        """
        names = {field.name: f"ODML_SERVE_{field.name.upper()}" for field in fields(cls)}
        given = {field: name for field, name in names.items() if environment.get(name)}
        return cls(**{field: _positive(name, environment[name]) for field, name in given.items()})


@dataclass(frozen=True)
class Allowed:
    """What of its own disk and of the network the server may read for whoever asks; by default nothing."""

    folders: tuple[Path, ...] = ()
    addresses: tuple[str, ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Allowed:
        """Read what is allowed.

        Raises:
            ConfigurationError: a folder is not there, or an address is none.
        """
        folders = [text for text in environment.get("ODML_SERVE_PATHS", "").split(os.pathsep) if text]
        addresses = environment.get("ODML_SERVE_URLS", "").split()
        for text in folders:
            if not Path(text).is_dir():
                raise ConfigurationError(f"ODML_SERVE_PATHS: {text} is no folder; name folders, or leave it empty")
        for text in addresses:
            if not text.startswith(("http://", "https://")) or text.count("/") < 3:
                raise ConfigurationError(
                    f"ODML_SERVE_URLS: {text} is no address with a path; write for instance https://host/photos/"
                )
        return cls(tuple(Path(text).resolve() for text in folders), tuple(addresses))


def answers_requests(environment: Mapping[str, str]) -> bool:
    """Say whether a server answers with the model, and not Spark or a program of its owner."""
    return environment.get(_SERVED, "").lower() == "true"


def _positive(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ConfigurationError(f"{name}: {text} is no whole number of at least 1; correct it, or leave it out")
    return int(text)
