"""Decode the same files on emulated processors and compare symbols and pixels with this one's.

    python -m fastlic.benchmarks.emulated_cpu -m BUNDLE [FILE.lic ...] [--arm64 FOLDER] [--json emulated.json]

Without files, the bundle's own conformance vectors. Emulated processors differ in the vector instructions that ONNX
Runtime and NumPy then choose: SSE4.2, AVX, AVX2 with FMA, ARM NEON, ARM SVE. This machine's own is the reference.
`FOLDER` is made by `fastlic.benchmarks.emulation.arm64`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from fastlic.benchmarks.emulation import arm64
from fastlic.benchmarks.measure import save
from fastlic.runtime.bundle import Bundle

_WORKER = Path(__file__).parent / "emulation" / "worker.py"
_SECONDS = 3600


@dataclass(frozen=True)
class Processor:
    """A way to run Python on a processor: label, command before the script, and variables."""

    label: str
    command: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Result:
    """What a processor decoded: CRC-32 of the latents and the picture of each file; or why it did not run."""

    crcs: list[int] = field(default_factory=list)
    pictures: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0
    native: bool = False
    problem: str | None = None


def processors(arm64_folder: Path | None) -> list[Processor]:
    """The reference first, then the emulated ones."""
    x86 = {
        # Without its own name OpenBLAS picks an AVX kernel here, which this processor does not have.
        "Nehalem (SSE4.2)": ("Nehalem", {"OPENBLAS_CORETYPE": "Nehalem"}),
        "Sandy Bridge (AVX)": ("SandyBridge", {}),
        "Haswell (AVX2, FMA)": ("Haswell", {}),
    }
    arm = {"Cortex-A57 (NEON)": "cortex-a57", "Cortex-A76 (NEON, dot product)": "cortex-a76", "all of ARM (SVE)": "max"}
    found = [Processor("this machine", [sys.executable])]
    found += [
        Processor(label, ["qemu-x86_64", "-cpu", cpu, sys.executable], variables)
        for label, (cpu, variables) in x86.items()
    ]
    if arm64_folder is not None:
        folder = arm64_folder.resolve()
        variables = arm64.environment(folder)
        found += [Processor(label, arm64.command(folder, cpu), variables) for label, cpu in arm.items()]
    return found


def decode_on(processor: Processor, bundle: Path, files: Sequence[Path]) -> Result:
    """Run the worker there and collect what it decoded."""
    if shutil.which(processor.command[0]) is None:
        return Result(problem=f"{processor.command[0]} is not installed (Debian package qemu-user)")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*processor.command, str(_WORKER), str(bundle), folder, *map(str, files)],
            env={**os.environ, **processor.variables},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            return Result(problem=(done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1])
        answer = json.loads(done.stdout)
        pictures = [np.load(Path(folder) / f"{number}.npy") for number in range(len(files))]
    return Result(answer["crc"], pictures, answer["seconds"], answer["native"])


def compare(result: Result, reference: Result) -> tuple[int, int]:
    """(files whose symbols differ, largest difference of a pixel in levels)."""
    differing = sum(mine != other for mine, other in zip(result.crcs, reference.crcs, strict=True))
    pairs = zip(result.pictures, reference.pictures, strict=True)
    return differing, max(int(np.abs(mine.astype(np.int16) - other).max()) for mine, other in pairs)


def _vectors(bundle: Path, folder: Path) -> list[Path]:
    """Write the bundle's conformance vectors to files."""
    paths = []
    with Bundle(bundle) as opened:
        for number, vector in enumerate(opened.manifest.conformance):
            paths.append(folder / f"{number}.lic")
            paths[-1].write_bytes(opened.member(vector.lic))
    return paths


def main() -> int:
    """Run from the command line; 3 if a symbol differs anywhere, 1 if a processor could not be run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("-m", "--bundle", type=Path, required=True)
    parser.add_argument("--arm64", type=Path, metavar="FOLDER")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    table = Table("processor", "files", "differing", "pixels, levels", "seconds", "reader", title="emulated processors")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        files = options.files or _vectors(options.bundle, Path(folder))
        found = {p.label: decode_on(p, options.bundle, files) for p in processors(options.arm64)}
    reference = next(iter(found.values()))
    for label, result in found.items():
        row: dict[str, Any] = {"processor": label, "files": len(result.crcs), "problem": result.problem}
        if result.problem is None:
            row["differing"], row["levels"] = compare(result, reference)
            reader = "native" if result.native else "constriction"
            table.add_row(
                label, str(len(files)), str(row["differing"]), str(row["levels"]), f"{result.seconds:.1f}", reader
            )
        else:
            table.add_row(label, "", "not run", result.problem)
        rows.append(row)
    Console().print(table)
    save(options.json, {"rows": rows, "crc": [f"{crc:08x}" for crc in reference.crcs]})
    if any(row.get("differing") for row in rows):
        return 3
    return 1 if any(row["problem"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
