"""The PTX that a plugin puts into an engine: one kernel, for one GPU.

Knows where the installation has PTX and how PTX text is laid out; knows nothing of TensorRT.
"""

from __future__ import annotations

import re
from pathlib import Path

from fastlic.errors import EngineUnavailable
from fastlic.kernels.build_cuda import PTX_ARCHITECTURES, PTX_SOURCES
from fastlic.kernels.cuda.fatbins import FOLDER
from fastlic.kernels.cuda.launch import KERNELS

_ENTRY = re.compile(r"^\.visible \.entry (\w+)\(", re.MULTILINE)


def load(kernel: str, capability: tuple[int, int], folder: Path = FOLDER) -> bytes:
    """One kernel as PTX that a device compiles when it loads an engine.

    Args:
        kernel: a name in `launch.KERNELS`.
        capability: of the device, (major, minor).
        folder: where `build_cuda` wrote.

    Raises:
        EngineUnavailable: fastlic was installed without its CUDA kernels, or the device is older than they are.
    """
    source = next(name for name in PTX_SOURCES if kernel in KERNELS[name])
    fitting = [number for number in PTX_ARCHITECTURES if number <= 10 * capability[0] + capability[1]]
    if not fitting:
        raise EngineUnavailable(
            f"compute capability {'.'.join(map(str, capability))} is below 7.5, the oldest that fastlic's kernels "
            "are made for: use the engine ort-cpu."
        )
    path = folder / f"{source}.sm_{fitting[-1]}.ptx"
    try:
        return only(path.read_text(encoding="ascii"), kernel).encode()
    except FileNotFoundError:
        raise EngineUnavailable(
            f"fastlic was installed without its CUDA kernels: {path} is missing. Install the CUDA toolkit, then "
            "fastlic from its sources with FASTLIC_CUDA_ARCHS=all; or build with --form standard, which needs none."
        ) from None


def only(text: str, kernel: str) -> str:
    """A PTX module cut down to one kernel: a device compiles all of a module, and an engine holds it whole.

    Args:
        text: PTX whose kernels call no functions and share no variables.
        kernel: its name.

    Raises:
        KeyError: the module does not have it.
    """
    starts = [*_ENTRY.finditer(text)]
    ends = [start.start() for start in starts[1:]] + [len(text)]
    entries = {start[1]: text[start.start() : end] for start, end in zip(starts, ends, strict=True)}
    head = "\n".join(line for line in text[: starts[0].start()].splitlines() if line and not line.startswith("//"))
    return f"{head}\n\n{entries[kernel]}"
