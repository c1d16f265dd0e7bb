"""Faults put into the shipped kernels themselves: the emulator finds each, and nothing in the sources as they are.

The unchanged kernels pass in tests/unit/kernels/test_cuda_*.py.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fastlic.kernels.cuda import launch

CUDA = Path(launch.__file__).parent


def mutant(source: str, right: str, wrong: str, which: int, folder: Path) -> Path:
    """A copy of a source with occurrence `which` of a text replaced."""
    parts = (CUDA / source).read_text().split(right)
    assert len(parts) > which + 1, f"{source} has no {right!r} number {which}: adapt this test"
    path = folder / "mutant.cu"
    path.write_text(right.join(parts[: which + 1]) + wrong + right.join(parts[which + 1 :]))
    return path


@pytest.mark.parametrize(
    ("right", "wrong", "what"),
    [
        ("__syncthreads();", ";", "read of tile at byte .* before anything was written|race on tile"),
        ("left + column < columns", "left + column <= columns", "read outside argument 0"),
        ("top + column < rows", "top + column <= rows", "read of tile|race on argument 3|write outside argument 3"),
    ],
)
def test_transpose_with_a_fault_is_reported(
    emulation: ModuleType, tmp_path: Path, right: str, wrong: str, what: str
) -> None:
    kernels = emulation.Emulator(mutant("transpose.cu", right, wrong, 0, tmp_path), ["transpose_16"])
    x = np.zeros((1, 33, 33), np.uint16)

    with pytest.raises(emulation.EmulationError, match=what):
        kernels.launch("transpose_16", (2, 2, 1), (256, 1, 1), [x, 33, 33, emulation.Out(np.empty_like(x))])


def test_deform_conv2d_without_the_barrier_of_its_loop_is_reported(emulation: ModuleType, tmp_path: Path) -> None:
    name = "deform_conv2d_f16_2x8x64"
    kernels = emulation.Emulator(mutant("deform_conv2d.cu", "__syncthreads();", ";", 2, tmp_path), [name])
    x, offsets = np.zeros((1, 2, 8, 8), np.float16), np.zeros((1, 2, 8, 18), np.float16)
    weight, bias = np.zeros((9, 8, 8), np.float16), np.zeros(8, np.float16)
    arguments = [x, offsets, offsets, weight, bias, 2, 8, 8, 8, 18, 0, 0, emulation.Out(np.empty_like(x))]

    with pytest.raises(emulation.EmulationError, match=r"race on (factors|samples)|before anything was written"):
        kernels.launch(name, (1, 1, 1), (128, 1, 1), arguments)
