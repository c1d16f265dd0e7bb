"""Time the whole decode and each of its stages.

    python -m fastlic.benchmarks.decode_time PICTURE... --threads 1 2 --rounds 5 --json decode.json

Each picture is encoded once; then every number of threads decodes every picture in turn, `rounds` times after one round
that warms up. A stage's row is its median over all decodes; `entropy` sums the passes (`code ...`) of a decode.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

import fastlic
from fastlic.benchmarks.measure import Summary, save
from fastlic.runtime import pictures
from fastlic.runtime.codec import BundleSource

WHOLE, ENTROPY = "whole decode", "entropy"
_PASS = "code "


def timed(decoder: fastlic.Decoder, data: bytes) -> dict[str, float]:
    """Decode once; seconds by stage, with WHOLE and ENTROPY among them."""
    stages: dict[str, float] = {}
    start = time.perf_counter()
    decoder.decode(data, timings=stages)
    whole = time.perf_counter() - start
    passes = sum(seconds for stage, seconds in stages.items() if stage.startswith(_PASS))
    return {WHOLE: whole, ENTROPY: passes, **stages}


def measure(
    files: Sequence[bytes], bundle: BundleSource | None, threads: Sequence[int], rounds: int
) -> dict[int, dict[str, Summary]]:
    """Decode all files with each number of threads in turn.

    Args:
        files: `.lic` files of one student.
        bundle: that student; None: the shipped one.
        threads: of engine and entropy decoder, each at least 1.
        rounds: that count, at least 1.

    Returns:
        By threads, by stage: seconds.
    """
    decoders = {count: fastlic.Decoder(bundle, threads=count) for count in threads}
    samples: dict[int, list[dict[str, float]]] = {count: [] for count in threads}
    for turn in range(-1, rounds):
        for data in files:
            for count, decoder in decoders.items():
                stages = timed(decoder, data)
                if turn >= 0:
                    samples[count].append(stages)
    for decoder in decoders.values():
        decoder.close()
    return {count: _summaries(sample) for count, sample in samples.items()}


def _summaries(sample: Sequence[Mapping[str, float]]) -> dict[str, Summary]:
    return {stage: Summary.of([stages[stage] for stages in sample]) for stage in sample[0]}


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--bundle", type=Path, help="instead of the shipped student")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    with fastlic.Encoder(options.bundle) as encoder:
        files = [encoder.encode(pictures.load(path).pixels) for path in options.pictures]
    found = measure(files, options.bundle, options.threads, options.rounds)

    table = Table(title=f"milliseconds, median (quartiles) of {len(files) * options.rounds} decodes")
    for column in ("stage", *(f"{count} threads" for count in options.threads)):
        table.add_column(column)
    for stage in found[options.threads[0]]:
        table.add_row(stage, *(found[count][stage].text(unit=1000, digits=1) for count in options.threads))
    Console().print(table)
    save(options.json, {"pictures": len(files), "threads": {str(count): rows for count, rows in found.items()}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
