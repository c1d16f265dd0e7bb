"""What a user waits for before any picture: `import fastlic`, `fastlic --help`, `fastlic.probe`.

Run as `python -m fastlic.benchmarks.startup`. Processes are timed from start to exit, less an empty interpreter's time
where the row says so.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import fastlic
from fastlic.benchmarks.measure import Summary
from fastlic.runtime import bitstream
from fastlic.runtime.tiles import TileGrid

WARM_UP = 3
PROCESS_RUNS, PROBE_RUNS = 30, 2000


def sample(action: Callable[[], object], runs: int) -> list[float]:
    """Seconds of each of `runs` calls, after a warm-up."""
    for _ in range(WARM_UP):
        action()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return seconds


def row(name: str, seconds: Sequence[float], bar: float | None = None) -> str:
    """One line: name, median and quartiles, count and the time it should stay under, in milliseconds."""
    wanted = "" if bar is None else f"  under {1000 * bar:g}"
    return f"{name:20}  {Summary.of(seconds).text(1000, 4)} ms  n {len(seconds)}  warm-up {WARM_UP}{wanted}"


def _python(*arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def _header_only() -> bytes:
    """A file of one tile without symbols: what `probe` reads is the same in every file."""
    tile = bitstream.TileData({}, [b""], 0)
    return bitstream.write(
        width=768,
        height=512,
        grid=TileGrid.choose(768, 512, 64),
        fingerprint=bytes(8),
        student="none",
        metadata={},
        tiles=[tile],
    )


def main() -> None:
    """Measure and print."""
    empty = sample(_python("-c", "pass"), PROCESS_RUNS)
    base = Summary.of(empty).median
    imported = sample(_python("-c", "import fastlic"), PROCESS_RUNS)
    print(row("empty interpreter", empty))
    print(
        row("import fastlic", [max(0.0, seconds - base) for seconds in imported], 0.2), " (less an empty interpreter)"
    )
    print(row("fastlic --help", sample(_python("-m", "fastlic", "--help"), PROCESS_RUNS), 0.4))
    data = _header_only()
    print(row("fastlic.probe", sample(lambda: fastlic.probe(data), PROBE_RUNS), 0.0001))


if __name__ == "__main__":
    main()
