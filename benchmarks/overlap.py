"""What `decode_stream` and `decode_batch` gain over decoding one file after the other.

    python -m fastlic.benchmarks.overlap PICTURE

Knows ways to decode the same files, and takes them in turn; knows nothing of codecs. Each ratio is of two neighbours in
time. On a machine that shares its cores with other work it says little: two threads then get more of them than one.
Beside it stands what the overlap could gain at most, from the times of the halves when nothing overlaps.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import fastlic
from fastlic.benchmarks import comparison
from fastlic.benchmarks.measure import Summary
from fastlic.runtime import pictures

FILES, ROUNDS = 10, 15
THREADS = (1, 2)


def ratios(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Summary]:
    """How many times faster each way is than the first, round by round.

    Args:
        ways: what to time, by name; each is called once before as a warm-up.
        rounds: every way has its turn in each, in the opposite order in every second one.
    """
    for way in ways.values():
        way()
    first = next(iter(ways))
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            start = time.perf_counter()
            ways[name]()
            found[name].append(time.perf_counter() - start)
    return {name: comparison.ratios(found[first], seconds) for name, seconds in found.items()}


def most(timings: Mapping[str, float], last: str) -> float:
    """What a perfect overlap of the step `last` with everything before it would gain, if neither slowed the other."""
    total = sum(timings.values())
    return total / max(timings[last], total - timings[last])


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    options = parser.parse_args()
    with fastlic.Encoder() as encoder:
        data = encoder.encode(pictures.load(options.picture).pixels)
    files = [data] * FILES
    for threads in THREADS:
        with fastlic.Decoder(threads=threads) as decoder:
            measured = ratios(
                {
                    "decode": lambda: [decoder.decode(file) for file in files],
                    "decode_stream": lambda: list(decoder.decode_stream(files)),
                    "decode_batch": lambda: decoder.decode_batch(files),
                },
                options.rounds,
            )
            timings: dict[str, float] = {}
            for file in files:
                decoder.decode(file, timings=timings)
        for name, summary in measured.items():
            print(f"threads {threads}  {name:13}  {summary.text()} times as fast  n {summary.count}")
        print(f"threads {threads}  at most        {most(timings, 'synthesis'):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
