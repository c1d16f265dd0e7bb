"""What every figure needs beside it: how it scattered, on what machine, when.

Knows samples of seconds and the host; knows nothing of codecs.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastlic.runtime.files import write_atomically


@dataclass(frozen=True)
class Summary:
    """A sample: how many, its median, and the quartiles as its spread."""

    count: int
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, sample: Sequence[float]) -> Summary:
        """Summarise at least one value."""
        if len(sample) < 2:
            return cls(len(sample), sample[0], sample[0], sample[0])
        low, median, high = statistics.quantiles(sample, n=4, method="inclusive")
        return cls(len(sample), median, low, high)

    def text(self, unit: float = 1.0, digits: int = 3) -> str:
        """`median (lower to upper quartile)`, each multiplied by `unit`."""
        median, low, high = (f"{value * unit:.{digits}f}" for value in (self.median, self.low, self.high))
        return f"{median} ({low} to {high})"


def host() -> dict[str, Any]:
    """The machine, the date and how busy it is, for a report's head."""
    import numpy as np
    import onnxruntime

    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def save(path: Path | None, figures: dict[str, Any]) -> None:
    """Write figures with the host beside them as JSON; nothing if `path` is None."""
    if path is not None:
        text = json.dumps({"host": host(), **figures}, indent=1, default=_plain)
        write_atomically(path, f"{text}\n".encode())


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, Summary):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} does not belong in a report")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
