"""Decode side by side: fastlic against CompressAI's codecs, on the same pictures, in turn, in one run.

    python -m fastlic.benchmarks.latency_ratio PICTURE... --rounds 5 --threads 2 --json ratio.json

Each peer is a process of its own that sleeps while another decodes. A round decodes every picture once with everyone,
in an order that rotates; the first round warms up and is dropped. A ratio is taken between times of the same picture in
the same round, a moment apart, so that a change of the machine's load falls on both. Beside wall time stands processor
time of all threads: with one thread it is the wall time of a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

import fastlic
from fastlic.benchmarks.measure import Summary, save
from fastlic.benchmarks.peers.environment import PeerUnavailable, Worker, compressai_python
from fastlic.runtime import pictures
from fastlic.runtime.engines import usable_cores

OURS = "fastlic"
PEERS = ("mbt2018-mean", "mbt2018-mean-192", "cheng2020-checkerboard", "cheng2020-checkerboard-192", "elic2022")
_WORKER = Path(__file__).parent / "peers" / "compressai_worker.py"


class Times(NamedTuple):
    """Seconds of one decode."""

    wall: float
    processor: float


Decode = Callable[[int], Times]
"""Decode picture number n."""


def alternate(contestants: dict[str, Decode], count: int, rounds: int) -> dict[str, list[Times]]:
    """Let everyone decode every picture in turn.

    Args:
        contestants: by name.
        count: of pictures.
        rounds: that are measured, after one that is not.

    Returns:
        By name, times for each (round, picture), rounds outermost.
    """
    order = list(contestants)
    times: dict[str, list[Times]] = {name: [] for name in order}
    for turn in range(-1, rounds):
        for picture in range(count):
            for name in order:
                taken = contestants[name](picture)
                if turn >= 0:
                    times[name].append(taken)
            order = order[1:] + order[:1]
    return times


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Summary:
    """Our time over theirs, pair by pair."""
    return Summary.of([mine / other for mine, other in zip(ours, theirs, strict=True)])


def compare(ours: Sequence[Times], theirs: Sequence[Times]) -> tuple[Summary, Summary, Summary]:
    """Their wall time, and ours over theirs: of wall time and of processor time."""
    seconds = Summary.of([other.wall for other in theirs])
    wall = ratios([mine.wall for mine in ours], [other.wall for other in theirs])
    return seconds, wall, ratios([mine.processor for mine in ours], [other.processor for other in theirs])


def _fastlic(
    paths: Sequence[Path], bundle: Path | None, threads: int, stack: contextlib.ExitStack
) -> tuple[Decode, float]:
    """Our own contestant and its mean bits per pixel."""
    decoder = stack.enter_context(fastlic.Decoder(bundle, threads=threads))
    files, bits = [], []
    with fastlic.Encoder(bundle, threads=threads) as encoder:
        for path in paths:
            pixels = pictures.load(path).pixels
            files.append(encoder.encode(pixels))
            bits.append(8 * len(files[-1]) / (pixels.shape[0] * pixels.shape[1]))

    def decode(number: int) -> Times:
        wall, processor = time.perf_counter(), time.process_time()
        decoder.decode(files[number])
        return Times(time.perf_counter() - wall, time.process_time() - processor)

    return decode, sum(bits) / len(bits)


def _peer(name: str, paths: Sequence[Path], threads: int, stack: contextlib.ExitStack) -> tuple[Decode, float, str]:
    worker = stack.enter_context(Worker(compressai_python(), _WORKER))
    ready = worker.ask(prepare=name, pictures=[str(path.resolve()) for path in paths], threads=threads)
    return (lambda number: Times(**worker.ask(decode=number))), sum(ready["bpp"]) / len(paths), ready["version"]


def main() -> int:
    """Run from the command line; 1 if a peer could not be run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path, nargs="+", help="sides must be multiples of 64")
    parser.add_argument("--bundle", type=Path, help="instead of the shipped student")
    parser.add_argument("--peers", nargs="*", default=PEERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    missing: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        contestants: dict[str, Decode] = {}
        rates: dict[str, float] = {}
        contestants[OURS], rates[OURS] = _fastlic(options.pictures, options.bundle, options.threads, stack)
        version = ""
        for name in options.peers:
            try:
                contestants[name], rates[name], version = _peer(name, options.pictures, options.threads, stack)
            except PeerUnavailable as reason:
                missing[name] = str(reason)
        times = alternate(contestants, len(options.pictures), options.rounds)

    table = Table(title=f"decode, {options.threads} threads, {len(times[OURS])} samples each; {version}")
    for column in ("codec", "bpp", "seconds (quartiles)", "fastlic / codec (quartiles)", "of processor time"):
        table.add_column(column)
    rows = {}
    for name, sample in times.items():
        seconds, ratio, processor_ratio = compare(times[OURS], sample)
        table.add_row(name, f"{rates[name]:.3f}", seconds.text(), ratio.text(digits=2), processor_ratio.text(digits=2))
        rows[name] = {"bpp": rates[name], "seconds": seconds, "ratio": ratio, "processor_ratio": processor_ratio}
    for name, why in missing.items():
        table.add_row(name, "", "not run", why)
    Console().print(table)
    save(options.json, {"threads": options.threads, "peers": version, "rows": rows, "missing": missing})
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
