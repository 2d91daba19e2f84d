from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from odml.errors import ConfigurationError
from odml.gpus import GPU, choose, figures, free_memory, visible_gpus


class FakeNVML:
    """NVIDIA's management library on a machine with some GPUs, or without a driver."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, count: int, *, driver: bool = True, tells_power: bool = True) -> None:
        self.count, self.driver, self.tells_power = count, driver, tells_power

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.driver:
            raise self.NVMLError("Shared Library Not Found")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        return int(uuid.removeprefix("GPU-"))

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return f"Fake {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=8 << 30, used=1 << 30, free=(7 << 30) - handle)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=37)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        if not self.tells_power:
            raise self.NVMLError("Not Supported")
        return 71500

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:  # noqa: N802
        return 45


@pytest.fixture
def environment(monkeypatch) -> dict[str, str]:
    """The process environment without any choice of GPUs, restored afterwards."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "TF_FORCE_GPU_ALLOW_GROWTH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    return os.environ


def test_gpus_are_read_with_their_figures():
    assert visible_gpus(FakeNVML(1)) == (GPU(0, "Fake 0", 8 << 30, 1 << 30, 37.0, 71.5, 45.0),)


def test_machine_without_a_driver_has_no_gpus():
    assert visible_gpus(FakeNVML(2, driver=False)) == ()


def test_figure_that_a_gpu_does_not_tell_is_none():
    assert visible_gpus(FakeNVML(1, tells_power=False))[0].power is None


def test_figures_are_scalars_under_the_number_of_their_gpu():
    names = ("utilisation_percent", "memory_used_mb", "power_watts", "temperature_celsius")
    values = (37.0, 1073.741824, 71.5, 45.0)
    assert figures(FakeNVML(2)) == {
        f"gpu/{index}/{name}": value for index in (0, 1) for name, value in zip(names, values, strict=True)
    }


def test_figure_that_a_gpu_does_not_tell_is_left_out():
    assert set(figures(FakeNVML(1, tells_power=False))) == {
        "gpu/0/utilisation_percent",
        "gpu/0/memory_used_mb",
        "gpu/0/temperature_celsius",
    }


def test_machine_without_gpus_has_no_figures():
    assert figures(FakeNVML(0)) == figures(FakeNVML(1, driver=False)) == {}


@pytest.mark.parametrize(("gpus", "visible"), [("0", "0"), ("1,0", "1,0"), (" 1 , 1 ", "1"), ("none", "-1")])
def test_choice_is_what_cuda_sees_in_the_order_of_nvidia_smi(environment, gpus, visible):
    choose(gpus, FakeNVML(2))
    assert environment["CUDA_VISIBLE_DEVICES"] == visible
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.parametrize("gpus", ["", "all"])
def test_all_gpus_are_what_the_environment_leaves_visible(environment, gpus):
    environment["CUDA_VISIBLE_DEVICES"] = "3"
    choose(gpus, FakeNVML(4))
    assert environment["CUDA_VISIBLE_DEVICES"] == "3"


@pytest.mark.parametrize("gpus", ["", "none", "0"])
def test_tensorflow_takes_only_the_memory_that_it_needs(environment, gpus):
    choose(gpus, FakeNVML(1))
    assert environment["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


@pytest.mark.parametrize(
    ("gpus", "count", "message"),
    [
        ("5", 2, "gpus: GPU 5 does not exist; this machine has 0, 1"),
        ("0", 0, "gpus: GPU 0 does not exist; this machine has none"),
        ("every", 2, "gpus: 'every' is not understood; write numbers such as 0,1, or all, or none"),
        ("-1", 2, "gpus: '-1' is not understood; write numbers such as 0,1, or all, or none"),
        ("0,,1", 2, "gpus: '0,,1' is not understood; write numbers such as 0,1, or all, or none"),
    ],
)
def test_choice_that_cannot_be_met_is_refused(environment, gpus, count, message):
    with pytest.raises(ConfigurationError) as error:
        choose(gpus, FakeNVML(count))
    assert str(error.value) == message
    assert "CUDA_VISIBLE_DEVICES" not in environment


def test_choice_after_tensorflow_was_imported_is_a_wrong_call(environment, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", ModuleType("tensorflow"))
    with pytest.raises(RuntimeError, match="GPUs must be chosen before TensorFlow is imported"):
        choose("0", FakeNVML(1))


def test_machine_without_gpus_has_nothing_to_choose_too_late(environment, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", ModuleType("tensorflow"))
    choose("none", FakeNVML(0))
    assert environment["CUDA_VISIBLE_DEVICES"] == "-1"


@pytest.mark.parametrize(("visible", "index"), [(None, 0), ("1,0", 1), ("GPU-2", 2)])
def test_free_memory_is_that_of_the_first_gpu_in_use(environment, visible, index):
    if visible:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    assert free_memory(FakeNVML(3)) == (7 << 30) - index
