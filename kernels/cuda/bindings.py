"""How the CUDA driver is reached: pycuda, and the driver's own library for what pycuda lacks.

Knows where they are and what it means when they are not there; what is done with them, `driver` knows.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from functools import cache
from typing import Any

from fastlic.errors import DeviceFailure, DeviceOutOfMemory, DriverUnavailable

_OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY


def pycuda() -> Any:
    """The module `pycuda.driver`.

    Raises:
        DriverUnavailable: it is not installed, or does not find a driver.
    """
    try:
        return importlib.import_module("pycuda.driver")
    except ModuleNotFoundError:
        raise DriverUnavailable(
            "pycuda is not installed. Install it: pip install 'fastlic[gpu]', which compiles it against the CUDA "
            "toolkit."
        ) from None
    except ImportError as error:
        raise DriverUnavailable(
            f"pycuda does not load: {error}. If libcuda.so.1 is missing, this machine or container has no NVIDIA "
            "driver; if a symbol is, the driver is older than the toolkit that pycuda was compiled with."
        ) from None


@cache
def libcuda() -> Any:
    """The driver's library, for captured graphs; pycuda has loaded it before."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def check(status: int, what: str) -> None:
    """Raise for a status of `libcuda` other than success.

    Raises:
        DeviceOutOfMemory: the driver has no more memory.
        DeviceFailure: any other status; the message has the driver's words for it.
    """
    if status == _OUT_OF_MEMORY:
        raise DeviceOutOfMemory(f"{what}: the GPU's memory is not enough.")
    if status != 0:
        text = ctypes.c_char_p()
        libcuda().cuGetErrorString(status, ctypes.byref(text))
        raise DeviceFailure(f"{what}: the CUDA driver says {(text.value or b'?').decode()} ({status}).")
