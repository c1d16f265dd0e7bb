"""Decode side by side: fastlic against CompressAI's codecs, on the same pictures, in turn, in one run.

    python -m fastlic.benchmarks.latency_ratio PICTURE... --rounds 5 --threads 2 --json ratio.json

Each peer is a process of its own that sleeps while another decodes. A round decodes every picture once with everyone,
in an order that rotates; the first round warms up and is dropped. A ratio is taken between times of the same picture in
the same round, a moment apart, so that a change of the machine's load falls on both.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

import fastlic
from fastlic.benchmarks.measure import Summary, save
from fastlic.benchmarks.peers.environment import PeerUnavailable, Worker, compressai_python
from fastlic.runtime import pictures
from fastlic.runtime.engines import usable_cores

OURS = "fastlic"
PEERS = ("mbt2018-mean", "cheng2020-checkerboard", "elic2022")
_WORKER = Path(__file__).parent / "peers" / "compressai_worker.py"

Decode = Callable[[int], float]
"""Decode picture number n; returns seconds."""


def alternate(contestants: dict[str, Decode], count: int, rounds: int) -> dict[str, list[float]]:
    """Let everyone decode every picture in turn.

    Args:
        contestants: by name.
        count: of pictures.
        rounds: that are measured, after one that is not.

    Returns:
        By name, seconds for each (round, picture), rounds outermost.
    """
    order = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in order}
    for turn in range(-1, rounds):
        for picture in range(count):
            for name in order:
                taken = contestants[name](picture)
                if turn >= 0:
                    seconds[name].append(taken)
            order = order[1:] + order[:1]
    return seconds


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Summary:
    """Our time over theirs, pair by pair."""
    return Summary.of([mine / other for mine, other in zip(ours, theirs, strict=True)])


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

    def decode(number: int) -> float:
        start = time.perf_counter()
        decoder.decode(files[number])
        return time.perf_counter() - start

    return decode, sum(bits) / len(bits)


def _peer(name: str, paths: Sequence[Path], threads: int, stack: contextlib.ExitStack) -> tuple[Decode, float, str]:
    worker = stack.enter_context(Worker(compressai_python(), _WORKER))
    ready = worker.ask(prepare=name, pictures=[str(path.resolve()) for path in paths], threads=threads)
    return (lambda number: worker.ask(decode=number)["seconds"]), sum(ready["bpp"]) / len(paths), ready["version"]


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
        seconds = alternate(contestants, len(options.pictures), options.rounds)

    table = Table(title=f"decode, {options.threads} threads, {len(seconds[OURS])} samples each; {version}")
    for column in ("codec", "bpp", "seconds [quartiles]", "fastlic / codec [quartiles]"):
        table.add_column(column)
    rows = {}
    for name, sample in seconds.items():
        rows[name] = {"bpp": rates[name], "seconds": Summary.of(sample), "ratio": ratios(seconds[OURS], sample)}
        table.add_row(
            name, f"{rates[name]:.3f}", Summary.of(sample).text(), ratios(seconds[OURS], sample).text(digits=2)
        )
    for name, why in missing.items():
        table.add_row(name, "", "not run", why)
    Console().print(table)
    save(options.json, {"threads": options.threads, "peers": version, "rows": rows, "missing": missing, "raw": seconds})
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
