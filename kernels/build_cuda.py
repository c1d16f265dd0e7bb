"""Compile `kernels/cuda/*.cu` into fatbins, and read what the compiler says about each kernel.

Knows nvcc's flags and its report; knows nothing of devices or launches. `setup.py` runs it where FASTLIC_CUDA_ARCHS is
set; `python -m fastlic.kernels.build_cuda` compiles into a folder of choice and prints the table of docs/kernels.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastlic.errors import EngineUnavailable

HERE = Path(__file__).parent
# Compute capabilities with machine code of their own; later devices compile the PTX of the last one.
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
# TensorRT plugins hold PTX, which must not be newer than the device: for sm_75, and for all that copy asynchronously.
PTX_SOURCES = ("deform_conv2d", "deform_conv2d_f32")
PTX_ARCHITECTURES = (75, 80)
TOOLKIT = "/usr/local/cuda"  # where NVIDIA's installers put it, often without adding it to the path
# No fast-math: what a division or a comparison with NaN gives is part of what the kernels promise.
FLAGS = ("-O3", "-std=c++17", "-t", "1", "--Werror", "all-warnings", "-Xptxas", "-v")

_ENTRY = re.compile(r"Compiling entry function '(?P<kernel>\w+)' for 'sm_(?P<architecture>\d+)")
_STACK = re.compile(
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
)
_USED = re.compile(r"Used (?P<registers>\d+) registers")
_SHARED = re.compile(r"(?P<shared>\d+) bytes smem")


@dataclass(frozen=True, order=True)
class Resources:
    """What one kernel takes on one architecture; sizes in bytes, registers per thread, shared memory per block."""

    kernel: str
    architecture: int
    registers: int
    shared: int
    stack: int
    spill_stores: int
    spill_loads: int


def sources() -> list[Path]:
    """All CUDA sources.

    Raises:
        EngineUnavailable: this is an installed package, which does not have them.
    """
    found = sorted((HERE / "cuda").glob("*.cu"))
    if not found:
        raise EngineUnavailable(f"no CUDA sources in {HERE / 'cuda'}: compile them from fastlic's source tree")
    return found


def find_tool(name: str) -> str | None:
    """Path of a program of the CUDA toolkit: on the path, or where toolkits are installed; None if it is nowhere."""
    folders = (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), TOOLKIT)
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(f"{top}/bin" for top in folders if top))


def find_nvcc() -> str:
    """Path of the CUDA compiler.

    Raises:
        EngineUnavailable: there is none.
    """
    found = find_tool("nvcc")
    if found is None:
        raise EngineUnavailable(
            f"nvcc is not on the path, nor in CUDA_HOME or {TOOLKIT}: install the CUDA toolkit to compile kernels/cuda"
        )
    return found


def nvcc_release(nvcc: str) -> str:
    """Its release, for example `13.0`."""
    text = subprocess.run([nvcc, "--version"], check=True, capture_output=True, text=True).stdout
    match = re.search(r"release (\d+\.\d+)", text)
    return match.group(1) if match else "unknown"


def compile_source(
    nvcc: str, source: Path, folder: Path, architectures: Sequence[int] = ARCHITECTURES
) -> list[Resources]:
    """Compile one source into `folder`/<stem>.fatbin: machine code for each architecture and PTX of the last.

    Args:
        nvcc: path of the compiler.
        source: a `.cu` file.
        folder: exists.
        architectures: compute capabilities as two or three digits, ascending.

    Returns:
        One entry per kernel and architecture.

    Raises:
        EngineUnavailable: the source does not compile; the message holds what the compiler said.
    """
    codes = [f"arch=compute_{a},code=sm_{a}" for a in architectures]
    codes.append(f"arch=compute_{architectures[-1]},code=compute_{architectures[-1]}")
    targets = [word for code in codes for word in ("-gencode", code)]
    command = [nvcc, *FLAGS, "-I", str(HERE / "include"), *targets, "-fatbin", str(source)]
    command += ["-o", str(folder / f"{source.stem}.fatbin")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise EngineUnavailable(f"{source.name} does not compile with {nvcc}:\n{done.stderr or done.stdout}")
    return parse_report(done.stdout + done.stderr)


def compile_ptx(nvcc: str, source: Path, folder: Path, architecture: int) -> Path:
    """Compile one source into `folder`/<stem>.sm_<architecture>.ptx, which newer devices run too.

    Raises:
        EngineUnavailable: the source does not compile; the message holds what the compiler said.
    """
    target = folder / f"{source.stem}.sm_{architecture}.ptx"
    command = [nvcc, *FLAGS[:-2], "-I", str(HERE / "include"), f"-arch=compute_{architecture}", "-ptx", str(source)]
    done = subprocess.run([*command, "-o", str(target)], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise EngineUnavailable(f"{source.name} does not compile with {nvcc}:\n{done.stderr or done.stdout}")
    return target


def parse_report(text: str) -> list[Resources]:
    """The resources in the output of `ptxas -v`, in its order; entries without all figures are left out."""
    found = []
    parts = _ENTRY.split(text)  # before, then kernel, architecture, text for each entry
    for kernel, architecture, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        stack, used, shared = _STACK.search(body), _USED.search(body), _SHARED.search(body)
        if stack is None or used is None:
            continue
        numbers = [int(stack[name]) for name in ("stack", "stores", "loads")]
        shared_bytes = int(shared["shared"]) if shared else 0
        found.append(Resources(kernel, int(architecture), int(used["registers"]), shared_bytes, *numbers))
    return found


def architectures_of(asked: str) -> tuple[int, ...]:
    """Compute capabilities from `all` or a list such as `80 90`, ascending.

    Raises:
        EngineUnavailable: one that the kernels are not made for.
    """
    if asked == "all":
        return ARCHITECTURES
    words = asked.replace(",", " ").split()
    if unknown := [word for word in words if word not in map(str, ARCHITECTURES)]:
        known = " ".join(map(str, ARCHITECTURES))
        raise EngineUnavailable(f"CUDA kernels for {' '.join(unknown)}: choose from {known}, or all")
    return tuple(sorted({int(word) for word in words}))


def build(folder: Path, asked: str) -> list[Resources]:
    """Compile all sources into `folder`, which is made.

    Args:
        folder: where the fatbins go.
        asked: see `architectures_of`.

    Raises:
        EngineUnavailable: there is no nvcc, it fails, an architecture is unknown, or the sources are not here.
    """
    architectures, nvcc = architectures_of(asked), find_nvcc()
    folder.mkdir(parents=True, exist_ok=True)
    for path in sources():
        for architecture in PTX_ARCHITECTURES if path.stem in PTX_SOURCES else ():
            compile_ptx(nvcc, path, folder, architecture)
    return [entry for path in sources() for entry in compile_source(nvcc, path, folder, architectures)]


def table(resources: Iterable[Resources]) -> str:
    """A Markdown table: shared memory per block, and registers per thread on each architecture."""
    entries = sorted(resources)
    architectures = sorted({entry.architecture for entry in entries})
    lines = [
        f"| kernel | shared | {' | '.join(f'sm_{a}' for a in architectures)} |",
        f"|---|---:|{'---:|' * len(architectures)}",
    ]
    for kernel in sorted({entry.kernel for entry in entries}):
        own = {entry.architecture: entry for entry in entries if entry.kernel == kernel}
        registers = (str(own[a].registers) if a in own else "-" for a in architectures)
        lines.append(f"| `{kernel}` | {max(e.shared for e in own.values())} | {' | '.join(registers)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compile all sources and print the table."""
    parser = argparse.ArgumentParser(description="Compile fastlic's CUDA kernels and print their resources.")
    parser.add_argument("--output", type=Path, help="folder for the fatbins; none are kept without it")
    parser.add_argument("--architectures", default="all", help="compute capabilities such as `80 90`; default: all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        resources = build(options.output or Path(scratch), options.architectures)
    print(f"nvcc {nvcc_release(find_nvcc())}\n\n{table(resources)}", end="")


if __name__ == "__main__":
    main()
