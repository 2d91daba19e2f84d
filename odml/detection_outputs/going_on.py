"""A folder of outputs that a later run goes on in: what was detected there must have been detected alike."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from odml.detection_outputs.contract import Result
from odml.detection_outputs.json_lines import read_results, recover
from odml.detection_outputs.whole_files import write_whole
from odml.errors import ConfigurationError

SETTINGS_FILE = "settings.json"


def open_folder(folder: Path, settings: Mapping[str, Any], *, skip_existing: bool) -> Iterator[Result]:
    """Give what an earlier run has found in a folder, nothing if it is empty or missing; then it is made.

    Args:
        settings: all that decides what is found, as plain data.
        skip_existing: whether there may be an earlier run.
    Raises:
        ConfigurationError: the folder is not empty, and not of an earlier run with these settings.
    """
    if not folder.exists() or not any(folder.iterdir()):
        write_whole(folder / SETTINGS_FILE, (json.dumps(settings, indent=1, ensure_ascii=False) + "\n").encode())
        return iter(())
    if not skip_existing:
        raise ConfigurationError(
            f"output_dir: {folder} is not empty; give a new folder, or skip_existing=true to go on in this one"
        )
    earlier = _read(folder / SETTINGS_FILE)
    for name, value in settings.items():
        if earlier.get(name) != value:
            raise ConfigurationError(
                f"output_dir: {folder} was made with {name} {earlier.get(name)}, not {value}; give a new folder, or "
                "detect as then"
            )
    recover(folder)
    return read_results(folder)


def _read(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = None
    if not isinstance(settings, dict):
        raise ConfigurationError(
            f"output_dir: {path.parent} has no {path.name} of an earlier detection to go on with; give a new folder"
        )
    return settings
