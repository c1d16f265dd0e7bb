"""Does a process that decodes for a long time, or from many threads, keep its memory, its pixels and its speed?

    python -m fastlic.benchmarks.endurance

Knows resident memory (Linux) and threads that share one decoder; knows nothing of codecs. A run's warm-up is not
counted: the first decodes load graphs and fill the allocator's pools. A leak grows with the number of decodes, so what
is judged is the line through the samples after it, not their scatter.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

import fastlic
from fastlic.benchmarks.measure import save
from fastlic.benchmarks.subjects import made_up
from fastlic.benchmarks.tables import Table

SAMPLES = 100
"""Looks at memory during a run."""
BOUND, PER_CALLER = 2 << 20, 64 << 10
"""Bytes by which the line may rise over a run, and for each further caller: of 10,000 decodes by one caller it is 210
bytes each, a sixtieth of a 64x64 picture. Callers together scatter more: in which of malloc's pools,
up to eight a core, small things lie depends on the moment."""
SHARE = 0.8
"""Of the best throughput that many callers must reach."""

ONE_CALLER = ((64, 64, 10_000), (768, 512, 200))
"""Width, height and decodes of the runs that one thread makes."""
CALLERS, EACH, EDGE = 64, 50, 128
"""Threads that share a decoder, decodes of each, and the edge of their picture."""
FEWER = (1, 2, 4, 8, 16, 32)
"""Numbers of callers that `CALLERS` are compared with."""
ROUNDS, DECODES = 3, 192
"""For that comparison: rounds over all numbers of callers, and decodes of each number in one."""


@dataclass(frozen=True)
class Memory:
    """Resident bytes during a run.

    Attributes:
        start: after the warm-up.
        end: after the run.
        peak: the largest seen in it.
        rise: of the least-squares line from the first sample to the last; its slope times the decodes.
    """

    start: int
    end: int
    peak: int
    rise: float

    @classmethod
    def of(cls, samples: Sequence[int]) -> Memory:
        """From samples at equal distances; at least two."""
        slope = statistics.linear_regression(range(len(samples)), samples).slope
        return cls(samples[0], samples[-1], max(samples), slope * (len(samples) - 1))


@dataclass(frozen=True)
class Run:
    """Decodes of one picture through one decoder.

    Attributes:
        picture: its size.
        callers: threads that decode at once.
        decodes: of all callers.
        differing: pictures that were not the first one, bit for bit.
        seconds: from the first decode after the warm-up to the last.
    """

    picture: str
    callers: int
    decodes: int
    differing: int
    seconds: float
    memory: Memory

    @property
    def holds(self) -> bool:
        """Whether every picture was the same and memory did not grow with the number of decodes."""
        return not self.differing and self.memory.rise <= BOUND + (self.callers - 1) * PER_CALLER


def resident() -> int:
    """Bytes of this process in memory now; Linux only."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def endure(
    decoder: fastlic.Decoder,
    data: bytes,
    picture: str,
    callers: int,
    decodes: int,
    memory: Callable[[], int] = resident,
) -> Run:
    """Decode one file many times, and watch.

    Args:
        decoder: shared by all callers.
        data: the file.
        picture: its name in the table.
        callers: threads.
        decodes: after the warm-up, of all callers; a multiple of `callers`.
        memory: bytes in use.
    """
    expected = decoder.decode(data)
    samples: list[int] = []
    counted = threading.Lock()
    done = differing = 0

    def begin() -> None:
        gc.collect()
        samples.append(memory())

    def decode() -> None:
        nonlocal done, differing
        same = np.array_equal(decoder.decode(data), expected)
        with counted:
            done += 1
            differing += not same
            if done * SAMPLES // decodes > (done - 1) * SAMPLES // decodes:
                samples.append(memory())

    # Each caller has pools of its own to fill, so a warm-up counts per caller.
    warm_up = max(decodes // 10, callers * EACH)
    seconds = share(callers, decodes, decode, begin, warm_up, lambda: decoder.decode(data))
    return Run(picture, callers, decodes, differing, seconds, Memory.of(samples))


def share(
    callers: int,
    count: int,
    action: Callable[[], object],
    begin: Callable[[], object] = lambda: None,
    warm_up: int = 0,
    warm_up_action: Callable[[], object] = lambda: None,
) -> float:
    """Call an action `count` times, as many times from each thread.

    Args:
        callers: threads.
        count: a multiple of `callers`.
        action: what is timed.
        begin: called by one thread when all have ended their warm-up.
        warm_up: calls of `warm_up_action` before, by the same threads.
        warm_up_action: not timed.

    Returns:
        Seconds from the end of the warm-up to the last return.

    Raises:
        Exception: the first that an action raised, after the threads have ended.
    """
    started = 0.0
    failures: list[BaseException] = []

    def start() -> None:
        nonlocal started
        begin()
        started = time.perf_counter()

    ready = threading.Barrier(callers, start)

    def work() -> None:
        try:
            for _ in range(warm_up // callers):
                warm_up_action()
            ready.wait()
            for _ in range(count // callers):
                action()
        except BaseException as error:
            failures.append(error)
            ready.abort()  # so that nobody waits for this thread

    threads = [threading.Thread(target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return time.perf_counter() - started


def throughputs(
    decoder: fastlic.Decoder, data: bytes, numbers: Sequence[int], decodes: int, rounds: int
) -> dict[int, float]:
    """Decodes per second by number of callers, the median of rounds in which each number has its turn."""
    found: dict[int, list[float]] = {number: [] for number in numbers}
    for _ in range(rounds):
        for number in numbers:
            count = max(1, decodes // number) * number
            found[number].append(count / share(number, count, lambda: decoder.decode(data)))
    return {number: statistics.median(rates) for number, rates in found.items()}


def table(runs: Sequence[Run]) -> Table:
    """One row per run; memory in MiB."""

    def mib(value: float) -> str:
        return f"{value / 2**20:.2f}"

    return Table(
        "endurance",
        "Many decodes through one decoder: resident memory in MiB",
        ("picture", "callers", "decodes", "differing", "start", "end", "peak", "rise"),
        [
            (
                run.picture,
                str(run.callers),
                str(run.decodes),
                str(run.differing),
                mib(run.memory.start),
                mib(run.memory.end),
                mib(run.memory.peak),
                mib(run.memory.rise),
            )
            for run in runs
        ],
    )


def main() -> int:
    """Run from the command line; 3 if a picture differs, memory grows, or many callers are slow."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="instead of the shipped student")
    parser.add_argument("--threads", type=int, default=1, help="of the decoder, for each caller (default: 1)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of decodes (default: 1)")
    parser.add_argument("--only", metavar="WIDTHxHEIGHT", help="of the runs, those of this picture (default: all)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    wanted = [*((width, height, 1, count) for width, height, count in ONE_CALLER), (EDGE, EDGE, CALLERS, EACH)]
    if options.only is not None:
        wanted = [run for run in wanted if f"{run[0]}x{run[1]}" == options.only]
        if not wanted:
            parser.error(f"no run has pictures of {options.only}")
    if not Path("/proc/self/statm").exists():
        parser.error("resident memory is read from /proc, which only Linux has")

    console = Console()
    runs = []
    with fastlic.Encoder(options.bundle, threads=1) as encoder:
        sizes = {(EDGE, EDGE), *((width, height) for width, height, *_ in wanted)}
        files = {size: encoder.encode(made_up(*size)) for size in sizes}
    with fastlic.Decoder(options.bundle, threads=options.threads) as decoder:
        for width, height, callers, each in wanted:
            decodes = max(1, round(each * options.scale)) * callers
            runs.append(endure(decoder, files[width, height], f"{width}x{height}", callers, decodes))
        decodes = max(1, round(DECODES * options.scale))
        rates = throughputs(decoder, files[EDGE, EDGE], (*FEWER, CALLERS), decodes, ROUNDS)
    share_of_best = rates[CALLERS] / max(rates.values())

    console.print(table(runs).to_rich())
    console.print(
        f"decodes per second of {EDGE}x{EDGE} by callers, decoder with {options.threads} threads: "
        + ", ".join(f"{number}: {rate:.0f}" for number, rate in rates.items())
    )
    console.print(f"{CALLERS} callers reach {share_of_best:.0%} of the best")
    holds = all(run.holds for run in runs) and share_of_best >= SHARE
    console.print("holds" if holds else "DOES NOT HOLD")
    save(
        options.json,
        {
            "threads": options.threads,
            "scale": options.scale,
            "runs": [asdict(run) for run in runs],
            "decodes_per_second": rates,
            "share_of_best": share_of_best,
            "holds": holds,
        },
    )
    return 0 if holds else 3


if __name__ == "__main__":
    sys.exit(main())
