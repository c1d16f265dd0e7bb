"""What each of the `ort-cpu` engine's settings costs or saves in a whole decode.

    python -m fastlic.benchmarks.ort_settings PICTURE --threads 2 --rounds 9 --json settings.json

Every variant differs from the engine in one setting and decodes the same file in turn with the others. Wall time says
what a user sees; processor time, of all threads, is steadier on a busy machine and shows the work that spinning or page
faults add.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import fastlic
from fastlic.benchmarks.comparison import ratios
from fastlic.benchmarks.measure import Summary, save
from fastlic.runtime import pictures
from fastlic.runtime.coder import BundleSource
from fastlic.runtime.engines import Graph
from fastlic.runtime.engines.ort import OrtCpuEngine

Change = Callable[[Any], None]
"""Changes one thing in onnxruntime.SessionOptions."""


class _Changed(OrtCpuEngine):
    """The engine with one setting changed."""

    def __init__(self, threads: int, change: Change) -> None:
        super().__init__(threads)
        self._change = change

    def _options(self) -> Any:
        options = super()._options()
        self._change(options)
        return options


class _Shrinking(OrtCpuEngine):
    """The engine with its arenas given back after each run."""

    def load(self, model: bytes, name: str, exact: bool) -> Graph:
        graph: Any = super().load(model, name, exact)
        options = self._ort.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        graph.session = _WithRunOptions(graph.session, options)
        return graph


class _WithRunOptions:
    def __init__(self, session: Any, options: Any) -> None:
        self._session, self._options = session, options

    def run(self, outputs: Sequence[str] | None, feed: dict[str, Any]) -> Any:
        return self._session.run(outputs, feed, self._options)


def _set(name: str, value: Any) -> Change:
    return lambda options: setattr(options, name, value)


def _spin(options: Any) -> None:
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")


def _nothing(options: Any) -> None:
    pass


def variants(threads: int) -> dict[str, OrtCpuEngine]:
    """The engine as shipped first, then one change each."""
    return {
        "as shipped": _Changed(threads, _nothing),
        "idle threads spin": _Changed(threads, _spin),
        "no arena": _Changed(threads, _set("enable_cpu_mem_arena", False)),
        "arena given back after each run": _Shrinking(threads),
        "memory patterns": _Changed(threads, _set("enable_mem_pattern", True)),
        "ONNX Runtime's own operators": OrtCpuEngine(threads, operators="onnxruntime"),
        **{f"optimisation {level}": OrtCpuEngine(threads, level) for level in ("none", "basic", "extended")},
    }


def measure(
    data: bytes, bundle: BundleSource | None, engines: dict[str, OrtCpuEngine], rounds: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Decode one file with every engine in turn, `rounds` times after one that warms up.

    Returns:
        By label: wall seconds and processor seconds of each decode.
    """
    decoders = {label: fastlic.Decoder(bundle, engine=engine) for label, engine in engines.items()}
    found: dict[str, tuple[list[float], list[float]]] = {label: ([], []) for label in engines}
    for turn in range(-1, rounds):
        for label, decoder in decoders.items():
            wall, processor = time.perf_counter(), time.process_time()
            decoder.decode(data)
            if turn >= 0:
                found[label][0].append(time.perf_counter() - wall)
                found[label][1].append(time.process_time() - processor)
    for decoder in decoders.values():
        decoder.close()
    return found


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--bundle", type=Path, help="instead of the shipped student")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    engines = variants(options.threads)
    with fastlic.Encoder(options.bundle) as encoder:
        data = encoder.encode(pictures.load(options.picture).pixels)
    found = measure(data, options.bundle, engines, options.rounds)

    table = Table(title=f"{options.threads} threads, median (quartiles) of {options.rounds} decodes")
    for column in ("setting", "ms", "processor ms", "ms / as shipped"):
        table.add_column(column)
    base = found["as shipped"][0]
    rows = {}
    for label, (wall, processor) in found.items():
        summaries = (Summary.of(wall), Summary.of(processor), ratios(wall, base))
        rows[label] = dict(zip(("wall", "processor", "ratio"), summaries, strict=True))
        table.add_row(label, *(s.text(1000, 0) for s in summaries[:2]), summaries[2].text(digits=2))
    Console().print(table)
    save(options.json, {"threads": options.threads, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
