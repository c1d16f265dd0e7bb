"""Feed a target with inputs and write down what matters: outcomes, time, memory, and every input that went wrong.

Knows how to measure one call; knows nothing of what is called. An input is on disk before it is tried, so that one
which kills the process is not lost.
"""

from __future__ import annotations

import hashlib
import mmap
import resource
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fastlic.errors import FastlicError

MAX_SECONDS = 2.0
_CURRENT_BYTES = 1 << 24


class Meter(Protocol):
    """Measures the peak of memory during one call."""

    def begin(self) -> None:
        """Start from here."""

    def peak(self) -> int:
        """Bytes that were in use at once since `begin`, beyond what was in use then."""

    def close(self) -> None:
        """Measure no more."""


class TracedMemory:
    """What Python and NumPy allocate: exact, and so slow that only a part of the calls is traced.

    Args:
        every: of so many blocks of calls one is traced. All are kept from allocating much by `limited_memory`.
        block: calls in a row; starting to trace leaks a kilobyte, so it is not done for each call.
    """

    def __init__(self, every: int = 1, block: int = 1000) -> None:
        self._every, self._block, self._calls, self._before = every, block, 0, 0

    def begin(self) -> None:
        """See `Meter.begin`."""
        is_wanted = self._calls // self._block % self._every == 0
        self._calls += 1
        if is_wanted != tracemalloc.is_tracing():
            (tracemalloc.start if is_wanted else tracemalloc.stop)()
        if is_wanted:
            tracemalloc.reset_peak()
            self._before, _ = tracemalloc.get_traced_memory()

    def peak(self) -> int:
        """See `Meter.peak`; 0 for a call that was not traced."""
        return tracemalloc.get_traced_memory()[1] - self._before if tracemalloc.is_tracing() else 0

    def close(self) -> None:
        """Trace no more."""
        tracemalloc.stop()


@contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """Inside, the process may have so many more bytes of address space; beyond them it meets `MemoryError`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * mmap.PAGESIZE + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))


class ResidentMemory:
    """The process's resident pages, native code included; Linux only. What an allocator kept is not counted again."""

    def __init__(self) -> None:
        self._before = 0

    def begin(self) -> None:
        """See `Meter.begin`."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident
        self._before = self._status("VmRSS:")

    def peak(self) -> int:
        """See `Meter.peak`."""
        return self._status("VmHWM:") - self._before

    def close(self) -> None:
        """See `Meter.close`."""

    @staticmethod
    def _status(field_name: str) -> int:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split(field_name, 1)[1].split(None, 1)[0])


@dataclass
class Figures:
    """What became of the inputs.

    Attributes:
        outcomes: "accepted", "crash" or the class of `FastlicError` -> number of inputs.
        findings: what went wrong, with the file that the input was kept in.
        worst_seconds, worst_bytes: of one input.
        seconds: of all, without making them.
    """

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    worst_seconds: float = 0.0
    worst_bytes: int = 0
    seconds: float = 0.0

    def lines(self, name: str) -> Iterator[str]:
        """Greppable lines."""
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.outcomes.most_common())
        yield f"{name}  inputs {self.inputs:,}  findings {len(self.findings)}  outcomes: {kinds}"
        rate = self.inputs / self.seconds if self.seconds else 0.0
        worst = f"worst {1e3 * self.worst_seconds:.1f} ms, {self.worst_bytes / 2**20:.2f} MiB"
        yield f"{name}  {worst} per input  {rate:,.0f} inputs/s"
        yield from (f"{name}  FINDING {finding}" for finding in self.findings[:20])


class Campaign:
    """One target under measurement.

    Args:
        target: takes an input and raises `FastlicError`, or returns a result; any other exception is a finding.
        verify: given an accepted input and its result; an exception is a finding. Not measured.
        meter: of memory.
        max_bytes: input -> bytes that it may make the target use.
        keep: folder for inputs that went wrong.
    """

    def __init__(
        self,
        target: Callable[[bytes], Any],
        verify: Callable[[bytes, Any], None],
        meter: Meter,
        max_bytes: Callable[[bytes], int],
        keep: Path,
    ) -> None:
        keep.mkdir(parents=True, exist_ok=True)
        self.figures = Figures()
        self._target, self._verify, self._meter, self._max_bytes = target, verify, meter, max_bytes
        self._keep = keep
        with (keep / "current").open("w+b") as file:
            file.truncate(_CURRENT_BYTES)
            self._current = mmap.mmap(file.fileno(), _CURRENT_BYTES)

    def run(self, inputs: Iterator[bytes], *, count: int | None = None, seconds: float | None = None) -> Figures:
        """Try inputs until there have been `count`, or for some seconds; at least one of the two is given."""
        end = None if seconds is None else time.monotonic() + seconds
        for data in inputs:
            self._try(data)
            if (count is not None and self.figures.inputs >= count) or (end is not None and time.monotonic() >= end):
                break
        self._meter.close()
        return self.figures

    def _try(self, data: bytes) -> None:
        figures = self.figures
        self._current[: 4 + len(data)] = len(data).to_bytes(4, "little") + data
        result, outcome = None, "accepted"
        self._meter.begin()
        start = time.perf_counter()
        try:
            result = self._target(data)
        except FastlicError as error:
            outcome = type(error).__name__
        except Exception as error:
            outcome = "crash"
            self._finding(data, f"{type(error).__name__}: {error}")
        seconds, peak = time.perf_counter() - start, self._meter.peak()
        figures.inputs += 1
        figures.outcomes[outcome] += 1
        figures.seconds += seconds
        figures.worst_seconds = max(figures.worst_seconds, seconds)
        figures.worst_bytes = max(figures.worst_bytes, peak)
        if seconds > MAX_SECONDS:
            self._finding(data, f"hang: {seconds:.1f} s")
        if peak > self._max_bytes(data):
            self._finding(data, f"memory: {peak:,} bytes, {self._max_bytes(data):,} allowed")
        if outcome == "accepted":
            try:
                self._verify(data, result)
            except Exception as error:
                self._finding(data, f"wrong: {type(error).__name__}: {error}")

    def _finding(self, data: bytes, what: str) -> None:
        path = self._keep / f"{hashlib.sha256(data).hexdigest()[:16]}.lic"
        path.write_bytes(data)
        self.figures.findings.append(f"{path.name}: {' '.join(what.split())[:300]}")
