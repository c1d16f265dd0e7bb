"""The parts of `make gpu-check`, each to be run in a process of its own.

Knows how each part is done and what it found; knows nothing of processes, time limits or tables. A part that cannot run
here raises, and says why. A longer one hands over what it has so far, so that nothing is lost when it is stopped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import fastlic
from fastlic.benchmarks import gpu_kernels
from fastlic.benchmarks.measure import Summary
from fastlic.benchmarks.report import KernelRow, Report
from fastlic.benchmarks.sampling import Effort, collect
from fastlic.benchmarks.stages import WHOLE, timed
from fastlic.benchmarks.subjects import made_up
from fastlic.errors import EngineUnavailable
from fastlic.kernels import build_cuda
from fastlic.kernels.cuda import fatbins
from fastlic.kernels.cuda.driver import open_device
from fastlic.runtime import engines, pictures
from fastlic.runtime.bundle import shipped
from fastlic.runtime.files import write_atomically

ROOT = Path(__file__).parent.parent
ENGINES: dict[str, tuple[str, dict[str, Any]]] = {
    "torch-f16": ("torch", {"precision": "f16"}),
    "torch": ("torch", {}),
    "ort-cuda-f16": ("ort-cuda", {"precision": "f16"}),
    "ort-cuda": ("ort-cuda", {}),
    "tensorrt": ("tensorrt", {}),
}
SIZES = ((768, 512), (1920, 1080))
"""Of the pictures that are decoded for time."""
DEFORMABLE = ROOT / "zoo/fu2023-n64-m128-l0075-2.licb"
"""The shipped student has no deformable convolution; this one has three."""
SANITIZERS = ("memcheck", "racecheck", "synccheck", "initcheck")
_KERNEL_TESTS = ("tests/gpu/test_kernels.py", "tests/gpu/test_integer_products.py")
_SYMBOL_TESTS = ("tests/gpu/test_decoding.py",)
_SMALL = (
    "not students and (transpose or scan or scatter or context or ragged or every_instance or float_kernel "
    "or equals_twins)"
)
"""Tests small enough for compute-sanitizer, which slows kernels down a hundredfold."""
_NO_TESTS = 5  # exit code of pytest
_VERDICT = re.compile(r"::.* (PASSED|FAILED|ERROR|SKIPPED)\b")


class Skipped(Exception):
    """A part cannot run here; the message says why."""


@dataclass
class Part:
    """What one part found; `figures` are for the JSON and the tables.

    `outcome` is ok, failed, skipped, or unfinished while the part runs.
    """

    name: str
    outcome: str = "ok"
    detail: str = ""
    seconds: float = 0.0
    date: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


Keep = Callable[[Part], None]
"""Takes what a part has found so far."""


@dataclass(frozen=True)
class Settings:
    """What is checked.

    Attributes:
        folder: for files that parts leave to later ones.
        kodak: folder of Kodak's PNG pictures; None: those are left out.
        students: bundles that are decoded for time besides the shipped one and the deformable one.
        effort: of each measurement.
        select: expression that narrows the tests, as for `pytest -k`.
    """

    folder: Path
    kodak: Path | None = None
    students: tuple[Path, ...] = ()
    effort: Effort = field(default_factory=lambda: Effort(seconds=2.0, count=30))
    select: str | None = None

    @property
    def bundles(self) -> list[Path]:
        """Of all students, the deformable one where this is a source tree that has it."""
        return [*shipped(), *(path for path in (DEFORMABLE,) if path.exists()), *self.students]


def look(settings: Settings, keep: Keep) -> Part:
    """What GPU there is."""
    device = open_device(0)
    figures = {"device": device.name, "capability": list(device.capability), "driver": device.driver}
    capability = ".".join(map(str, device.capability))
    detail = f"{device.name}, sm {capability}, {device.multiprocessors} multiprocessors, driver of CUDA {device.driver}"
    return Part("gpu", detail=detail, figures=figures)


def build_kernels(settings: Settings, keep: Keep) -> Part:
    """Compile the kernels for this device into the package; without nvcc the installed ones must do."""
    architecture = architecture_for(open_device(0).capability)
    try:
        build_cuda.find_nvcc()
    except EngineUnavailable as reason:
        if fatbins.missing():
            raise
        return Part("build", detail=f"installed kernels are used: {reason}")
    found = build_cuda.build(fatbins.FOLDER, str(architecture))
    spilled = [entry.kernel for entry in found if entry.spill_stores or entry.spill_loads]
    detail = f"{len(found)} kernels for sm_{architecture}, {len(spilled)} spill registers"
    return Part("build", "failed" if spilled else "ok", detail, figures={"resources": [asdict(one) for one in found]})


def architecture_for(capability: tuple[int, int]) -> int:
    """The newest architecture that kernels are made for and this device runs."""
    number = 10 * capability[0] + capability[1]
    return max(known for known in build_cuda.ARCHITECTURES if known <= number)


def prepare(engine: str, settings: Settings, keep: Keep) -> Part:
    """Make the forms, and for TensorRT the engines, of all students, as a user does with `fastlic build`."""
    sizes = [word for width, height in SIZES for word in ("--size", f"{width}x{height}")]
    command = [sys.executable, "-m", "fastlic", "build", *map(str, settings.bundles), "--engine", engine, *sizes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Skipped(" ".join(done.stderr.split())[-400:])
    return Part(f"prepare-{engine}", detail=f"{len(settings.bundles)} students", figures={"output": done.stdout})


def kernel_tests(settings: Settings, keep: Keep) -> Part:
    """Each kernel on the device beside its reference, and the premise of the integer lattice."""
    return run_tests("kernel-tests", _KERNEL_TESTS, settings, keep)


def symbol_tests(settings: Settings, keep: Keep) -> Part:
    """Every golden file and all of Kodak, symbol by symbol, by every engine; and a thousand decodes without growth."""
    return run_tests("symbols", _SYMBOL_TESTS, settings, keep)


def tensorrt_tests(settings: Settings, keep: Keep) -> Part:
    """What only TensorRT itself can show."""
    return run_tests("tensorrt-tests", ("tests/gpu/test_tensorrt.py",), settings, keep)


def run_tests(name: str, files: Sequence[str], settings: Settings, keep: Keep, wrapper: Sequence[str] = ()) -> Part:
    """Run tests in a process of their own, counting as they end.

    Args:
        name: of the part.
        files: of tests, from the root.
        settings: say where Kodak is, and which tests to take.
        keep: takes the count after each test.
        wrapper: what to put before the command.
    """
    selected = ["-k", settings.select] if settings.select else []
    command = [*wrapper, sys.executable, "-m", "pytest", "-v", "-rs", "-p", "no:cacheprovider", *files, *selected]
    environment = {**os.environ, **({"FASTLIC_KODAK": str(settings.kodak)} if settings.kodak else {})}
    counts: dict[str, int] = {}
    part, output = Part(name, "unfinished"), []
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            output.append(line.rstrip())
            if verdict := _VERDICT.search(line):
                counts[verdict[1].lower()] = counts.get(verdict[1].lower(), 0) + 1
                part.detail = ", ".join(f"{count} {word}" for word, count in counts.items())
                keep(part)
    skipped = [line for line in output if line.startswith("SKIPPED")]
    if process.returncode == _NO_TESTS or (process.returncode == 0 and not counts.get("passed")):
        raise Skipped(skipped[0] if skipped else f"no test is called {settings.select}")
    part.outcome = "ok" if process.returncode == 0 else "failed"
    part.detail = part.detail or next((line for line in reversed(output) if line), f"exit code {process.returncode}")
    part.figures = {"counts": counts, "output": skipped if part.outcome == "ok" else output[-80:]}
    return part


def sanitize(tool: str, settings: Settings, keep: Keep) -> Part:
    """Run the small tests under one tool of compute-sanitizer."""
    program = build_cuda.find_tool("compute-sanitizer")
    if program is None:
        raise Skipped("compute-sanitizer is not on the path; it comes with the CUDA toolkit")
    wrapper = [program, "--error-exitcode", "9", "--target-processes", "all", "--tool", tool]
    small = Settings(settings.folder, select=settings.select or _SMALL)
    return run_tests(tool, _KERNEL_TESTS[:1], small, keep, wrapper)


def time_kernels(settings: Settings, keep: Keep) -> Part:
    """Our kernels beside the device's limits, then beside other deformable convolutions on the same maps."""
    report, part = Report("gpu-check"), Part("kernels", "unfinished")

    def keep_rows(_: str = "") -> None:
        part.figures = {"limits": report.roofline, "rows": [_row(row) for row in report.kernels]}
        keep(part)

    maps, copied = gpu_kernels.MAPS, gpu_kernels.COPIED
    gpu_kernels.measure_gpu_kernels(report, settings.effort, keep_rows, maps, copied)
    keep_rows()
    gpu_kernels.add_gpu_peers(report, settings.effort, maps)
    keep_rows()
    part.outcome, part.detail = "ok", "; ".join(f"{one.what}: {one.why}" for one in report.absent)
    return part


def _row(row: KernelRow) -> dict[str, Any]:
    return {**asdict(row), "seconds": asdict(row.seconds)}


def time_decoding(label: str, settings: Settings, keep: Keep) -> Part:
    """One engine's decode of each student and picture: in one go, then stage by stage, with a wait after each stage."""
    name, options = ENGINES[label]
    rows: list[dict[str, Any]] = []
    part = Part(f"decode-{label}", "unfinished", figures={"rows": rows})
    engines.create(name, device=0, **options).close()  # before files are encoded for one that cannot run
    for bundle in settings.bundles:
        with fastlic.Decoder(bundle, engine=engines.create(name, device=0, **options)) as decoder:
            for title, data in files_of(bundle, settings):
                whole = Summary.of(collect(partial(_seconds, decoder, data), settings.effort))
                staged = collect(partial(timed, decoder, data), settings.effort)
                stages = {key: asdict(Summary.of([row[key] for row in staged])) for key in staged[0] if key != WHOLE}
                row = {"student": bundle.stem, "picture": title, "bytes": len(data), "whole": asdict(whole)}
                rows.append({**row, "stages": stages})
                keep(part)
    first = rows[0]
    part.outcome = "ok"
    part.detail = f"{first['student']}, {first['picture']}: p50 {1000 * first['whole']['median']:.2f} ms"
    return part


def _seconds(decoder: fastlic.Decoder, data: bytes) -> float:
    start = time.perf_counter()
    decoder.decode(data)  # returns when the picture is in host memory, so the device has been waited for
    return time.perf_counter() - start


def files_of(bundle: Path, settings: Settings) -> list[tuple[str, bytes]]:
    """What is decoded for time: Kodak's picture 23, and a made-up one of 1080p; encoded on the CPU once per student."""
    kept = settings.folder / bundle.stem
    kept.mkdir(parents=True, exist_ok=True)
    photograph = next(iter(sorted(settings.kodak.glob("*23.png"))), None) if settings.kodak else None
    (width, height), (large_width, large_height) = SIZES
    photograph = photograph or ROOT / "tests/data/kodim23.png"
    sources = {
        f"kodim23 {width}x{height}": lambda: np.ascontiguousarray(pictures.load(photograph).pixels[:height, :width]),
        f"made up {large_width}x{large_height}": lambda: made_up(large_width, large_height),
    }
    found = []
    with fastlic.Encoder(bundle, engine="ort-cpu") as encoder:
        for title, load in sources.items():
            path = kept / f"{title.replace(' ', '-')}.lic"
            if not path.exists():
                write_atomically(path, encoder.encode(load()))
            found.append((title, path.read_bytes()))
    return found


@dataclass(frozen=True)
class Section:
    """A part by name, and after how many seconds it is stopped."""

    name: str
    limit: float
    run: Callable[[Settings, Keep], Part]


# What says most about correctness and speed comes first, for machines that are lent for minutes.
SECTIONS = (
    Section("gpu", 60, look),
    Section("build", 180, build_kernels),
    Section("kernel-tests", 150, kernel_tests),
    Section("prepare-ort-cuda", 120, partial(prepare, "ort-cuda")),
    Section("kernels", 150, time_kernels),
    *(Section(f"decode-{label}", 90, partial(time_decoding, label)) for label in ("torch-f16", "torch")),
    Section("symbols", 400, symbol_tests),
    *(Section(tool, 150, partial(sanitize, tool)) for tool in SANITIZERS),
    *(Section(f"decode-{label}", 90, partial(time_decoding, label)) for label in ("ort-cuda-f16", "ort-cuda")),
    Section("prepare-tensorrt", 300, partial(prepare, "tensorrt")),
    Section("tensorrt-tests", 300, tensorrt_tests),
    Section("decode-tensorrt", 90, partial(time_decoding, "tensorrt")),
)
