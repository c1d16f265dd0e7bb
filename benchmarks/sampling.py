"""How long to measure: a warm-up, then calls until both a time and a count are reached.

Knows repeated calls; knows nothing of what is called, nor what its results say (`measure.Summary`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Effort:
    """When a warm-up and a measurement are long enough: both the time and the count must be reached."""

    warm_up_seconds: float = 0.2
    warm_up_count: int = 3
    seconds: float = 3.0
    count: int = 10

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> Effort:
        """From the JSON that `asdict` makes."""
        return cls(**written)

    def to_json(self) -> dict[str, Any]:
        """For a request to a worker."""
        return asdict(self)


def collect(action: Callable[[], T], effort: Effort, clock: Callable[[], float] = time.perf_counter) -> list[T]:
    """Call until the effort is made; the warm-up's results are dropped.

    Args:
        action: what to call.
        effort: how often.
        clock: seconds.
    """
    _until(action, effort.warm_up_seconds, effort.warm_up_count, clock)
    return _until(action, effort.seconds, effort.count, clock)


def _until(action: Callable[[], T], seconds: float, count: int, clock: Callable[[], float]) -> list[T]:
    found: list[T] = []
    start = clock()
    while len(found) < count or clock() - start < seconds:
        found.append(action())
    return found
