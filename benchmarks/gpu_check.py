"""Everything that only a GPU can show, in one command: `make gpu-check`.

Builds the kernels for the GPU that is here, runs tests/gpu on it (again under compute-sanitizer, where there is one),
times the kernels beside the device's limits and beside other implementations, and decodes with every engine that runs.
Knows the order of these and how their outcome is shown; the parts know how. A part that cannot run says why; one that
fails makes the command fail.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import fastlic
from fastlic.benchmarks.gpu_kernels import MAPS, measure_gpu_kernels
from fastlic.benchmarks.gpu_peers import Shape, measure_peers
from fastlic.benchmarks.measure import Summary, save
from fastlic.benchmarks.report import Report
from fastlic.benchmarks.sampling import Effort, collect
from fastlic.benchmarks.stages import WHOLE, timed
from fastlic.benchmarks.subjects import made_up
from fastlic.errors import EngineUnavailable, FastlicError
from fastlic.kernels import build_cuda
from fastlic.kernels.cuda import fatbins
from fastlic.kernels.cuda.driver import Device, open_device
from fastlic.runtime import engines
from fastlic.runtime.bundle import shipped

ROOT = Path(__file__).parent.parent
ENGINES: dict[str, tuple[str, dict[str, Any]]] = {
    "torch": ("torch", {}),
    "torch f16": ("torch", {"precision": "f16"}),
    "ort-cuda": ("ort-cuda", {}),
    "ort-cuda f16": ("ort-cuda", {"precision": "f16"}),
    "tensorrt": ("tensorrt", {}),
}
SIZES = ((768, 512), (1920, 1080))
"""Of the pictures that are decoded for time."""
_PREPARED = ("ort-cuda", "tensorrt")
_SANITIZED = ("memcheck", "racecheck")
_SMALL = "transpose or scan or scatter or context or ragged"
"""Tests small enough for compute-sanitizer, which slows kernels down a hundredfold."""


class Skipped(Exception):
    """A part cannot run here; the message says why."""


@dataclass
class Part:
    """One line of the report; `figures` are for the JSON and the tables."""

    name: str
    outcome: str = "ok"
    detail: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


def build_kernels(device: Device, folder: Path) -> Part:
    """Compile the kernels for this device into `folder`; without nvcc the installed ones must do."""
    architecture = architecture_for(device.capability)
    try:
        build_cuda.find_nvcc()
    except EngineUnavailable as reason:
        if fatbins.missing():
            raise
        return Part("build", detail=f"installed kernels are used: {reason}")
    start = time.perf_counter()
    found = build_cuda.build(folder, str(architecture))
    spilled = [entry.kernel for entry in found if entry.spill_stores or entry.spill_loads]
    seconds = time.perf_counter() - start
    detail = f"{len(found)} kernels for sm_{architecture} in {seconds:.0f} s, {len(spilled)} spill registers"
    return Part("build", "failed" if spilled else "ok", detail, {"resources": [asdict(entry) for entry in found]})


def architecture_for(capability: tuple[int, int]) -> int:
    """The newest architecture that kernels are made for and this device runs."""
    number = 10 * capability[0] + capability[1]
    return max(known for known in build_cuda.ARCHITECTURES if known <= number)


def run_tests(kodak: Path | None, wrapper: Sequence[str] = (), only: str | None = None) -> Part:
    """Run tests/gpu in a process of its own.

    Args:
        kodak: folder of photographs for the symbol-exact decode.
        wrapper: what to put before the command.
        only: expression that selects tests.
    """
    command = [*wrapper, sys.executable, "-m", "pytest", "-q", "-rs", "tests/gpu", *(["-k", only] if only else [])]
    environment = {**os.environ, **({"FASTLIC_KODAK": str(kodak)} if kodak else {})}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    name = f"tests under {wrapper[-1].rpartition(' ')[2]}" if wrapper else "tests"
    outcome = "ok" if done.returncode == 0 else "failed"
    skipped = [line for line in lines if line.startswith("SKIPPED")]
    output = lines[-60:] if outcome == "failed" else skipped
    return Part(name, outcome, lines[-1] if lines else done.stderr[-200:], {"output": output})


def sanitize(tool: str) -> Part:
    """Run the small tests under one tool of compute-sanitizer."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        raise Skipped("compute-sanitizer is not on the path; it comes with the CUDA toolkit")
    wrapper = [program, "--error-exitcode", "9", "--target-processes", "all", "--tool", tool]
    return run_tests(None, wrapper, _SMALL)


def prepare(engine: str) -> Part:
    """Make the forms, and for TensorRT the engines, of the shipped students, as a user does with `fastlic build`."""
    sizes = [word for width, height in SIZES for word in ("--size", f"{width}x{height}")]
    command = [sys.executable, "-m", "fastlic", "build", *map(str, shipped()), "--engine", engine, *sizes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Skipped(" ".join(done.stderr.split())[-400:])
    return Part(f"prepare {engine}", detail=f"{len(done.stdout.splitlines())} lines", figures={"output": done.stdout})


def time_kernels(effort: Effort, maps: Sequence[Shape] = MAPS) -> Part:
    """Our kernels beside the device's limits and beside other deformable convolutions."""
    report = Report("gpu-check")
    measure_gpu_kernels(report, effort, lambda _: None, maps)
    rows = [
        {"kernel": row.kernel, "shape": row.shape, "by": "fastlic", "seconds": row.seconds, "floor": row.limit}
        for row in report.kernels
    ]
    ours = {row.shape: row for row in report.kernels if row.kernel == "deform_conv2d"}
    found, absent = measure_peers(maps, effort)
    for (peer, (height, width, channels)), seconds in found.items():
        own = ours[f"{channels} to {channels} 3x3, {width}x{height}"]
        rows.append({"kernel": own.kernel, "shape": own.shape, "by": peer, "seconds": seconds, "floor": own.limit})
    detail = "; ".join(f"{name}: {why}" for name, why in absent.items())
    return Part("kernels", detail=detail, figures={"limits": report.roofline, "rows": rows})


def time_decoding(label: str, effort: Effort, pictures: Sequence[tuple[str, np.ndarray]]) -> Part:
    """One engine's decode of each picture: in one go, then stage by stage, with a wait after each stage."""
    name, options = ENGINES[label]
    rows: list[dict[str, Any]] = []
    with fastlic.Encoder(engine="ort-cpu") as encoder:
        files = [(title, encoder.encode(picture)) for title, picture in pictures]
    with fastlic.Decoder(engine=engines.create(name, device=0, **options)) as decoder:
        for title, data in files:
            whole = Summary.of(collect(partial(_seconds, decoder, data), effort))
            staged = collect(partial(timed, decoder, data), effort)
            stages = {key: Summary.of([row[key] for row in staged]) for key in staged[0] if key != WHOLE}
            rows.append({"picture": title, "bytes": len(data), "whole": whole, "stages": stages})
    first = rows[0]["whole"]
    detail = f"{rows[0]['picture']}: {first.text(1000, 2)} ms, n {first.count}"
    return Part(f"decode, {label}", detail=detail, figures={"rows": rows})


def _seconds(decoder: fastlic.Decoder, data: bytes) -> float:
    start = time.perf_counter()
    decoder.decode(data)  # returns when the picture is in host memory, so the device has been waited for
    return time.perf_counter() - start


def pictures_of(kodak: Path | None) -> list[tuple[str, np.ndarray]]:
    """What is decoded for time: Kodak's picture 23, and a made-up one of 1080p."""
    path = next(iter(sorted(kodak.glob("*23.png"))), None) if kodak else None
    photograph = np.asarray(Image.open(path or ROOT / "tests/data/kodim23.png").convert("RGB"))
    (width, height), (large_width, large_height) = SIZES
    return [
        (f"kodim23 {width}x{height}", photograph),
        (f"made up {large_width}x{large_height}", made_up(large_width, large_height)),
    ]


def attempt(name: str, action: Callable[[], Part], say: Callable[[str], None]) -> Part:
    """The part's outcome, whatever happens in it."""
    say(name)
    try:
        return action()
    except (Skipped, EngineUnavailable) as reason:
        return Part(name, "skipped", str(reason))
    except (FastlicError, MemoryError, subprocess.SubprocessError, RuntimeError, ValueError) as error:
        return Part(name, "failed", f"{type(error).__name__}: {error}")


def check(kodak: Path | None, effort: Effort, say: Callable[[str], None]) -> list[Part]:
    """All parts in order; without a GPU one line that says why."""
    try:
        device = open_device(0)
    except EngineUnavailable as reason:
        return [Part("GPU", "skipped", str(reason))]
    capability = ".".join(map(str, device.capability))
    parts = [
        Part(
            "GPU",
            detail=f"{device.name}, sm {capability}, {device.multiprocessors} multiprocessors, CUDA {device.driver}",
        )
    ]
    pictures = pictures_of(kodak)
    parts.append(attempt("build", lambda: build_kernels(device, fatbins.FOLDER), say))
    for engine in _PREPARED:
        parts.append(attempt(f"prepare {engine}", partial(prepare, engine), say))
    parts.append(attempt("tests", lambda: run_tests(kodak), say))
    for tool in _SANITIZED:
        parts.append(attempt(f"tests under {tool}", partial(sanitize, tool), say))
    parts.append(attempt("kernels", lambda: time_kernels(effort), say))
    for label in ENGINES:
        parts.append(attempt(f"decode, {label}", partial(time_decoding, label, effort, pictures), say))
    return parts


def show(parts: Sequence[Part], console: Console) -> None:
    """A table of outcomes, then the figures of kernels and decodes."""
    table = Table("part", "outcome", "detail", title="gpu-check", title_justify="left")
    for part in parts:
        table.add_row(part.name, part.outcome, escape(part.detail))
    console.print(table)
    kernels = Table("kernel", "shape", "by", "us", "floor us", "of the floor", title="kernels", title_justify="left")
    stages = Table("engine", "picture", "stage", "ms", title="decode", title_justify="left")
    for part in parts:
        for row in part.figures.get("rows", []):
            if "kernel" in row:
                seconds, floor = row["seconds"].median, row["floor"]
                cells = [f"{seconds * 1e6:.1f}", f"{floor * 1e6:.1f}", f"{floor / seconds:.0%}"]
                kernels.add_row(row["kernel"], row["shape"], row["by"], *cells)
            else:
                stages.add_row(part.name, row["picture"], "whole", row["whole"].text(1000, 2))
                for stage, summary in row["stages"].items():
                    stages.add_row("", "", stage, summary.text(1000, 3))
    for figures in (kernels, stages):
        if figures.row_count:
            console.print(figures)


def main() -> None:
    """Run everything, print the tables, write the JSON; exit 1 when a part failed."""
    parser = argparse.ArgumentParser(description="Check fastlic on the GPU of this machine.")
    parser.add_argument("--kodak", type=Path, help="folder of Kodak's PNG pictures, decoded symbol by symbol")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    options = parser.parse_args()
    console = Console()
    parts = check(options.kodak, Effort(seconds=options.seconds, count=30), lambda name: console.print(f"- {name}"))
    show(parts, console)
    save(options.json, {"parts": [asdict(part) for part in parts]})
    if any(part.outcome == "failed" for part in parts):
        sys.exit(1)


if __name__ == "__main__":
    main()
