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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastlic.runtime.files import write_atomically

PERCENTILES = (90, 95, 99)
BEYOND = 10
"""Values that must lie beyond a percentile for it to be stated: the 99th needs a sample of a thousand."""
NOISY = 0.05
"""Coefficient of variation from which on a report warns."""


@dataclass(frozen=True)
class Summary:
    """A sample of times or ratios.

    Attributes:
        count: of values.
        median: of them.
        low, high: quartiles, the spread.
        variation: standard deviation over mean; 0 for one value.
        percentiles: those of `PERCENTILES` that the count supports, by name.
    """

    count: int
    median: float
    low: float
    high: float
    variation: float = field(default=0.0, compare=False)
    percentiles: dict[str, float] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, sample: Sequence[float]) -> Summary:
        """Summarise at least one value."""
        if len(sample) < 2:
            return cls(len(sample), sample[0], sample[0], sample[0])
        low, median, high = statistics.quantiles(sample, n=4, method="inclusive")
        mean = statistics.fmean(sample)
        return cls(
            len(sample),
            median,
            low,
            high,
            statistics.stdev(sample, mean) / mean if mean else 0.0,
            _percentiles(sample),
        )

    @property
    def noisy(self) -> bool:
        """Whether the values scatter too much for the median to be repeatable."""
        return self.variation >= NOISY

    def text(self, unit: float = 1.0, digits: int = 3) -> str:
        """`median (lower to upper quartile)`, each multiplied by `unit`."""
        median, low, high = (f"{value * unit:.{digits}f}" for value in (self.median, self.low, self.high))
        return f"{median} ({low} to {high})"


def _percentiles(sample: Sequence[float]) -> dict[str, float]:
    wanted = [p for p in PERCENTILES if len(sample) * (100 - p) >= 100 * BEYOND]
    if not wanted:
        return {}
    cuts = statistics.quantiles(sample, n=100, method="inclusive")
    return {str(p): cuts[p - 1] for p in wanted}


def host() -> dict[str, Any]:
    """The machine, the date and how busy it is, for a report's head."""
    import numpy as np

    from fastlic.runtime.engines.ort_sessions import import_onnxruntime

    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": import_onnxruntime().__version__,
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
