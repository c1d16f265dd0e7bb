"""Clock rates, throttling and device memory while something else is measured.

Knows Linux's cpufreq and NVIDIA's management library (nvidia-ml-py); knows nothing of what runs. What cannot be read
here is None, never 0.
"""

from __future__ import annotations

import importlib
import statistics
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

INTERVAL = 0.25
"""Seconds between two looks; each takes well under a millisecond."""

_CPUFREQ = Path("/sys/devices/system/cpu")

# Bits of NVML's clock event reasons that mean "slower than it could be".
_THROTTLES = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal limit",
    0x40: "hardware thermal limit",
    0x80: "power brake",
}


def processor_mhz(folder: Path = _CPUFREQ) -> float | None:
    """Mean clock of the cores now, MHz; None where the system does not tell (most virtual machines)."""
    found = []
    for file in folder.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"):
        with suppress(OSError, ValueError):
            found.append(int(file.read_text()) / 1000)
    return statistics.fmean(found) if found else None


class Gpu:
    """A GPU's gauges.

    Args:
        index: as NVML counts devices.

    Raises:
        GaugeUnavailable: nvidia-ml-py is not installed, or there is no such GPU; the message says which.
    """

    def __init__(self, index: int = 0) -> None:
        try:
            self._nvml: Any = importlib.import_module("pynvml")
            self._nvml.nvmlInit()
            self._handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        except ModuleNotFoundError:
            raise GaugeUnavailable("nvidia-ml-py is not installed: pip install 'fastlic[gpu]'") from None
        except Exception as error:  # NVMLError is made by the library at run time, one class per code
            raise GaugeUnavailable(f"NVML finds no GPU {index}: {error}") from error

    def read(self) -> dict[str, Any]:
        """MHz of the multiprocessors and of the memory, degrees Celsius, watts, and reasons for going slower."""
        nvml, handle = self._nvml, self._handle
        reasons = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
        return {
            "sm_mhz": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            "memory_mhz": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
            "celsius": nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            "watts": nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            "throttled": [name for bit, name in _THROTTLES.items() if reasons & bit],
        }

    def memory_of(self, process: int) -> int | None:
        """Bytes of device memory that a process holds; None where the driver does not tell."""
        for each in self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle):
            if each.pid == process:
                return each.usedGpuMemory
        return None


class GaugeUnavailable(Exception):
    """There is no such gauge here; the message says why."""


@dataclass
class Watched:
    """What was seen: lists in order of time, empty where nothing could be read."""

    processor_mhz: list[float] = field(default_factory=list)
    gpu: list[dict[str, Any]] = field(default_factory=list)
    device_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Ranges, and every reason for throttling that was seen."""
        throttled = sorted({reason for look in self.gpu for reason in look["throttled"]})
        return {
            "processor_mhz": _range(self.processor_mhz),
            "gpu_sm_mhz": _range([look["sm_mhz"] for look in self.gpu]),
            "gpu_celsius": _range([look["celsius"] for look in self.gpu]),
            "gpu_watts": _range([look["watts"] for look in self.gpu]),
            "throttled": throttled,
        }


class ClockWatch:
    """Looks at the gauges from a thread of this process while a worker, in its own, is measured.

    Args:
        gpu: the GPU in use, if any.
        process: whose device memory to follow.
        mhz: reads the processor's clock.
    """

    def __init__(
        self, gpu: Gpu | None = None, process: int | None = None, mhz: Callable[[], float | None] = processor_mhz
    ) -> None:
        self.seen = Watched()
        self._gpu, self._process, self._mhz = gpu, process, mhz
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while True:
            self._look()
            if self._ended.wait(INTERVAL):
                return

    def _look(self) -> None:
        mhz = self._mhz()
        if mhz is not None:
            self.seen.processor_mhz.append(mhz)
        if self._gpu is not None:
            self.seen.gpu.append(self._gpu.read())
            held = None if self._process is None else self._gpu.memory_of(self._process)
            if held is not None:
                self.seen.device_bytes = max(held, self.seen.device_bytes or 0)


def _range(values: list[float]) -> list[float] | None:
    return [round(min(values), 1), round(max(values), 1)] if values else None
