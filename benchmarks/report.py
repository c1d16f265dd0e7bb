"""What one run of `fastlic bench` found: the form of its figures, on the way to tables, JSON, HTML and Markdown.

Knows the figures' names and units; knows nothing of how they are measured or shown. Times are seconds, memory is bytes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from fastlic.benchmarks.measure import NOISY, Summary, host


@dataclass(frozen=True)
class Latency:
    """One picture decoded again and again by one student, engine and number of threads, in a process of its own.

    Attributes:
        student, engine, version, device, threads, detail: what decoded.
        picture, width, height, size_bytes, psnr: what was decoded; dB against the picture that was encoded.
        wall, processor: end to end, from a file in memory to pixels in memory; processor time of all threads.
        stages: wall time of each part, among them the sum of all entropy decoding.
        samples: wall times in the order they were taken.
        cold: seconds to import fastlic, to open the decoder, and of the first decode, which loads the graphs.
        start_to_picture: from starting an interpreter to its first picture.
        host_bytes: largest resident set of the process, interpreter and libraries included.
        device_bytes: largest amount of GPU memory seen; None without a GPU.
        clocks: what the gauges showed meanwhile.
    """

    student: str
    engine: str
    version: str
    device: str
    threads: int
    detail: dict[str, str]
    picture: str
    width: int
    height: int
    size_bytes: int
    psnr: float
    wall: Summary
    processor: Summary
    stages: dict[str, Summary]
    samples: list[float]
    cold: dict[str, float]
    start_to_picture: float
    host_bytes: int | None
    device_bytes: int | None
    clocks: dict[str, Any]

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height

    @property
    def bpp(self) -> float:
        """Bits of the file per pixel."""
        return 8 * self.size_bytes / self.pixels

    @property
    def label(self) -> str:
        """Engine and threads."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.engine}, {threads}" if self.device == "cpu" else self.engine


@dataclass(frozen=True)
class Throughput:
    """Several callers of one decoder, each handing over several files at a time."""

    student: str
    engine: str
    threads: int
    streams: int
    batch: int
    picture: str
    pictures_per_second: float
    megapixels_per_second: float


@dataclass(frozen=True)
class PeerRow:
    """One codec of the comparison; `psnr` is None where weights are random. Ours has ratios of 1."""

    name: str
    label: str
    version: str
    bpp: float
    psnr: float | None
    seconds: Summary
    ratio: Summary
    processor_ratio: Summary


@dataclass(frozen=True)
class KernelRow:
    """One kernel beside the machine's limits.

    Attributes:
        kernel, shape: what ran.
        by: whose implementation.
        seconds: of one call.
        flops, moved: arithmetic operations, and bytes that must be read or written at least once.
        limit: seconds that the measured copy bandwidth and matrix rate allow at best.
        bound: "memory" or "arithmetic", whichever limits.
    """

    kernel: str
    shape: str
    by: str
    seconds: Summary
    flops: float
    moved: float
    limit: float
    bound: str


@dataclass(frozen=True)
class NotRun:
    """Something that was asked for and could not be had, and why."""

    what: str
    why: str


@dataclass
class Report:
    """Everything that one run found."""

    command: str
    host: dict[str, Any] = field(default_factory=host)
    latencies: list[Latency] = field(default_factory=list)
    throughputs: list[Throughput] = field(default_factory=list)
    comparison: list[PeerRow] = field(default_factory=list)
    comparison_threads: int = 0
    roofline: dict[str, float] = field(default_factory=dict)
    kernels: list[KernelRow] = field(default_factory=list)
    not_run: list[NotRun] = field(default_factory=list)
    absent: list[NotRun] = field(default_factory=list)
    """What this machine has not, though nobody asked for it by name; no failure."""

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before trusting a figure."""
        found = []
        noisy = [row for row in self.latencies if row.wall.noisy]
        if noisy:
            worst = max(noisy, key=lambda row: row.wall.variation)
            found.append(
                f"{len(noisy)} of {len(self.latencies)} latencies vary by {100 * NOISY:.0f} % or more (coefficient of "
                f"variation); worst: {worst.label}, {worst.picture} {worst.width}x{worst.height}, "
                f"{100 * worst.wall.variation:.0f} %"
            )
        throttled = sorted({reason for row in self.latencies for reason in row.clocks.get("throttled", [])})
        if throttled:
            found.append(f"the GPU ran slower than it could: {', '.join(throttled)}")
        load, cores = self.host.get("load"), self.host.get("cores") or 1
        if load is not None and load > 0.5 * cores:
            found.append(f"the load average was {load} on {cores} cores when the run began")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values, the warnings among them."""
        return {**asdict(self), "warnings": self.warnings}
