"""Run a CUDA kernel's own source on the host, with every memory access watched.

Knows how to build a `.cu` file with the host compiler over `emulation.h` and how to launch what is in it; the machine
itself is machine.cpp. Libraries are kept in `build/emulation`, named by the hash of all that they are made from.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "emulation"
INCLUDES = [HERE, ROOT / "kernels" / "include", ROOT / "kernels" / "cuda"]
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-fno-gnu-unique", "-U_FORTIFY_SOURCE", "-ffp-contract=off"]
WARNINGS = ["-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Werror"]

Size = tuple[int, int, int]


class EmulationError(AssertionError):
    """A kernel did what a GPU may punish: the message lists bounds, races and barriers that went wrong."""


class Out:
    """Marks an array that a kernel writes: its content before is unknown, and every byte must be written.

    Args:
        array: C-contiguous; filled with 0xCD before the launch.
        partial: whether the kernel may leave bytes alone.
    """

    def __init__(self, array: np.ndarray, partial: bool = False) -> None:
        self.array, self.partial = array, partial


class Changed:
    """Marks an array that a kernel reads and writes."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array


Argument = np.ndarray | Out | Changed | int


def compiler() -> str | None:
    """Path of g++, whose flags these are, or None."""
    return shutil.which("g++")


class Emulator:
    """The kernels of one source, ready to be launched on the host.

    Args:
        source: a `.cu` file.
        names: its kernels, in any order.
    """

    def __init__(self, source: Path, names: Sequence[str]) -> None:
        self._library = ctypes.CDLL(str(_build(source, names)))
        self._library.emulation_report.restype = ctypes.c_char_p
        self._library.emulation_unwritten.restype = ctypes.c_uint64
        self._library.emulation_kinds.restype = ctypes.c_char_p

    def kinds(self, name: str) -> str:
        """The arguments of a kernel as `struct` names them: P for a pointer, i for an int32."""
        return self._library.emulation_kinds(name.encode()).decode().replace("p", "P")

    def launch(self, name: str, grid: Size, block: Size, arguments: Sequence[Argument], reverse: bool = False) -> None:
        """Run one kernel to its end.

        Args:
            name: of the kernel.
            grid: blocks along x, y, z.
            block: threads along x, y, z.
            arguments: in the order of the plugin ABI; a bare array is an input and is only read.
            reverse: run blocks and threads in the opposite order.

        Raises:
            EmulationError: an access or a barrier was wrong, or bytes of an `Out` were not written.
        """
        library = self._library
        library.emulation_forget()
        words, kinds, outs = [], "", []
        buffers = 0
        for i, argument in enumerate(arguments):
            if isinstance(argument, int):
                words.append(argument & 0xFFFFFFFF)
                kinds += "i"
                continue
            array = argument if isinstance(argument, np.ndarray) else argument.array
            assert array.flags.c_contiguous, f"argument {i} of {name} is not C-contiguous"
            use = 0
            if isinstance(argument, Out):
                use = 1
                array.view(np.uint8).fill(0xCD)
                if not argument.partial:
                    outs.append((i, buffers))
            elif isinstance(argument, Changed):
                use = 2
            address = ctypes.c_void_p(array.ctypes.data)
            library.emulation_buffer(f"argument {i}".encode(), address, ctypes.c_uint64(array.nbytes), use)
            buffers += 1
            words.append(array.ctypes.data)
            kinds += "p"
        status = library.emulation_launch(
            name.encode(),
            kinds.encode(),
            (ctypes.c_uint64 * len(words))(*words),
            (ctypes.c_uint32 * 3)(*grid),
            (ctypes.c_uint32 * 3)(*block),
            int(reverse),
        )
        assert status == 0, {-1: f"no kernel {name}", -2: f"{name} does not take arguments of kinds {kinds}"}[status]
        reports = [library.emulation_report(i).decode() for i in range(library.emulation_report_count())]
        for i, buffer in outs:
            if not reports and (left := library.emulation_unwritten(buffer)):
                reports.append(f"{left} bytes of argument {i} were not written")
        if reports:
            raise EmulationError(f"{name}:\n" + "\n".join(reports))


def _build(source: Path, names: Sequence[str]) -> Path:
    """The shared library of a source's kernels, built unless an equal one is there."""
    lines = [
        f'#include "{source}"',
        '#include "interface.h"',
        f"FASTLIC_KERNELS({', '.join(f'FASTLIC_KERNEL({name})' for name in sorted(names))})",
        "",
    ]
    headers = [path for folder in INCLUDES for path in folder.rglob("*.h")]
    folder = _folder_of(source.stem, "\n".join(lines), [source, *headers])
    unit = folder / "unit.cpp"
    unit.write_text("\n".join(lines))
    return _compiled(folder / "kernels.so", ["-shared", str(unit), str(_machine())])


def _machine() -> Path:
    """The machine as an object file, which all libraries contain."""
    source, header = HERE / "machine.cpp", HERE / "machine.h"
    return _compiled(_folder_of("machine", "", [source, header]) / "machine.o", ["-c", str(source)])


def _folder_of(name: str, text: str, sources: Sequence[Path]) -> Path:
    """A folder for what is built from a text, sources and the flags."""
    digest = hashlib.sha256(repr((text, FLAGS, WARNINGS)).encode())
    for path in sorted(sources):
        digest.update(path.read_bytes())
    folder = BUILD / f"{name}-{digest.hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _compiled(output: Path, arguments: Sequence[str]) -> Path:
    """`output`, compiled unless it is there; it appears only when it is complete."""
    if not output.exists():
        fresh = output.with_suffix(".fresh" + output.suffix)
        command = [compiler() or "g++", *FLAGS, *WARNINGS, *(f"-I{path}" for path in INCLUDES), *arguments]
        subprocess.run([*command, "-o", str(fresh)], check=True)
        fresh.rename(output)
    return output
