"""benchmarks/clocks.py with made-up gauges."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastlic.benchmarks.clocks import ClockWatch, GaugeUnavailable, Gpu, processor_mhz


def test_processor_mhz_is_the_mean_of_the_cores(tmp_path: Path) -> None:
    for core, khz in enumerate((2_000_000, 3_000_000)):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{khz}\n")

    assert processor_mhz(tmp_path) == 2500


def test_processor_mhz_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert processor_mhz(tmp_path) is None


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A library that sees one GPU, slowed down by its power cap."""
    library = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: 0x4 | 0x1,
        nvmlDeviceGetClockInfo=lambda handle, kind: {"sm": 1500, "mem": 2600}[kind],
        nvmlDeviceGetTemperature=lambda handle, kind: 61,
        nvmlDeviceGetPowerUsage=lambda handle: 250_000,
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [SimpleNamespace(pid=7, usedGpuMemory=1 << 30)],
        NVML_CLOCK_SM="sm",
        NVML_CLOCK_MEM="mem",
        NVML_TEMPERATURE_GPU=0,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return library


def test_watch_keeps_ranges_throttling_and_the_process_memory(nvml: SimpleNamespace) -> None:
    with ClockWatch(Gpu(), process=7, mhz=lambda: 2100.0) as watch:
        pass

    seen = watch.seen.to_json()
    assert watch.seen.device_bytes == 1 << 30
    assert seen["throttled"] == ["power cap"]
    assert seen["gpu_sm_mhz"] == [1500, 1500]
    assert seen["gpu_watts"] == [250, 250]
    assert seen["processor_mhz"] == [2100, 2100]


def test_watch_without_gauges_knows_nothing() -> None:
    with ClockWatch(mhz=lambda: None) as watch:
        pass

    assert watch.seen.device_bytes is None
    assert watch.seen.to_json() == {
        "processor_mhz": None, "gpu_sm_mhz": None, "gpu_celsius": None, "gpu_watts": None, "throttled": [],
    }  # fmt: skip


def test_gpu_that_nvml_does_not_find_says_so(nvml: SimpleNamespace) -> None:
    def refuse(index: int) -> int:
        raise RuntimeError("Invalid Argument")

    nvml.nvmlDeviceGetHandleByIndex = refuse

    with pytest.raises(GaugeUnavailable, match="no GPU 3: Invalid Argument"):
        Gpu(3)


def test_gpu_without_the_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)

    with pytest.raises(GaugeUnavailable, match=r"fastlic\[gpu\]"):
        Gpu()
