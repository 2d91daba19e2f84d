"""Which GPUs this machine has, what they are doing, and which of them TensorFlow may use."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml

from odml.errors import ConfigurationError


@dataclass(frozen=True)
class GPU:
    """A GPU as NVIDIA's driver sees it now; what a GPU does not tell (a MIG slice, say) is None.

    ``index`` is nvidia-smi's number. Memory is in bytes, utilisation in percent of the last moment, power in watts,
    temperature in degrees Celsius.
    """

    index: int
    name: str
    memory_total: int
    memory_used: int
    utilisation: float | None
    power: float | None
    temperature: float | None


def visible_gpus(nvml: Any = pynvml) -> tuple[GPU, ...]:
    """Give the machine's GPUs in nvidia-smi's order, none where there is no NVIDIA driver.

    Args:
        nvml: NVIDIA's management library, the module ``pynvml`` or something with its functions.
    """
    try:
        nvml.nvmlInit()
        return tuple(_read(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError:
        return ()


def figures(nvml: Any = pynvml) -> dict[str, float]:
    """Give what the GPUs are doing as scalars with a name each, such as ``gpu/0/utilisation_percent``.

    The others of a GPU are ``memory_used_mb`` (a million bytes), ``power_watts`` and ``temperature_celsius``. What it
    does not tell is left out; a machine without GPUs has none.

    Args:
        nvml: see `visible_gpus`.
    """
    named = {
        f"gpu/{gpu.index}/{name}": value
        for gpu in visible_gpus(nvml)
        for name, value in {
            "utilisation_percent": gpu.utilisation,
            "memory_used_mb": gpu.memory_used / 1e6,
            "power_watts": gpu.power,
            "temperature_celsius": gpu.temperature,
        }.items()
    }
    return {name: value for name, value in named.items() if value is not None}


def choose(gpus: str, nvml: Any = pynvml) -> None:
    """Let TensorFlow use some of the GPUs, and of their memory only what it needs; call it before importing it.

    Args:
        gpus: ``""`` or ``"all"`` for all that the environment leaves visible, ``"none"``, or numbers as ``nvidia-smi``
            gives them: ``"0,1"``.
        nvml: see `visible_gpus`.

    Raises:
        ConfigurationError: the text has another form, or names a GPU that does not exist.
        RuntimeError: TensorFlow is imported already, and the machine has GPUs that it may have taken.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if gpus in ("", "all"):
        return
    present = [gpu.index for gpu in visible_gpus(nvml)]
    wanted = [] if gpus == "none" else _numbers(gpus, present)
    if present and "tensorflow" in sys.modules:
        raise RuntimeError("GPUs must be chosen before TensorFlow is imported")
    # CUDA's own order is fastest first, which is not the order of nvidia-smi.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, wanted)) or "-1"


def free_memory(nvml: Any = pynvml) -> int:
    """Give the bytes that nobody uses of the first GPU that CUDA_VISIBLE_DEVICES names, without it of the first.

    It is named there by its number or, as schedulers do, by its UUID.

    Raises:
        nvml.NVMLError: there is no such GPU.
    """
    nvml.nvmlInit()
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    handle = nvml.nvmlDeviceGetHandleByIndex(int(first)) if first.isdecimal() else nvml.nvmlDeviceGetHandleByUUID(first)
    return int(nvml.nvmlDeviceGetMemoryInfo(handle).free)


def _numbers(gpus: str, present: list[int]) -> list[int]:
    if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", gpus):
        raise ConfigurationError(f"gpus: {gpus!r} is not understood; write numbers such as 0,1, or all, or none")
    wanted = list(dict.fromkeys(int(number) for number in gpus.split(",")))
    for number in wanted:
        if number not in present:
            has = ", ".join(map(str, present)) or "none"
            raise ConfigurationError(f"gpus: GPU {number} does not exist; this machine has {has}")
    return wanted


def _read(nvml: Any, index: int) -> GPU:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return GPU(
        index=index,
        name=nvml.nvmlDeviceGetName(handle),
        memory_total=memory.total,
        memory_used=memory.used,
        utilisation=_told(nvml, lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)),
        power=_told(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
        temperature=_told(nvml, lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))),
    )


def _told(nvml: Any, ask: Callable[[], float]) -> float | None:
    try:
        return ask()
    except nvml.NVMLError:
        return None
