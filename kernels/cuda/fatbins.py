"""The compiled CUDA kernels, where fastlic was installed with them.

Knows where the installation puts fatbins and how to get them; knows nothing of a driver.
"""

from __future__ import annotations

from pathlib import Path

from fastlic.errors import KernelsUnavailable
from fastlic.kernels.cuda.launch import KERNELS

FOLDER = Path(__file__).parent


def load(source: str) -> bytes:
    """The kernels of one source as a fatbin: machine code of several architectures, and PTX for later ones.

    Args:
        source: a key of `launch.KERNELS`.

    Raises:
        KernelsUnavailable: fastlic was installed without its CUDA kernels; the message says how to install with them.
    """
    path = FOLDER / f"{source}.fatbin"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise KernelsUnavailable(
            f"fastlic was installed without its CUDA kernels: {path} is missing. Install the CUDA toolkit, then "
            "fastlic from its sources with FASTLIC_CUDA_ARCHS=all, or the compute capability of your GPU, such as 90."
        ) from None


def missing() -> list[str]:
    """Sources whose kernels are not installed."""
    return [source for source in KERNELS if not (FOLDER / f"{source}.fatbin").exists()]
