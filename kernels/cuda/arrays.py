"""Arrays in device memory, and their hand-over to other libraries without a copy.

Knows shapes, the CUDA array interface (version 3) and DLPack; knows nothing of kernels. What an array holds must be
complete before it is handed over: nobody else knows our streams.
Source: Numba's "CUDA Array Interface" and the DLPack C API, version 0.x (`DLManagedTensor`).
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, NamedTuple

import numpy as np

from fastlic.kernels.cuda.driver import Buffer, Device, HostBuffer, Stream


class ArraySpec(NamedTuple):
    """Type and shape of an array."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of a contiguous array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


class DeviceArray:
    """A C-contiguous array in device memory.

    Attributes:
        device: where it lies.
        memory: keeps it alive.
        spec: type and shape.
        pointer: address of the first element.
    """

    def __init__(self, device: Device, memory: Buffer | HostBuffer, spec: ArraySpec, offset: int = 0) -> None:
        self.device, self.memory, self.spec = device, memory, spec
        self.pointer = memory.pointer + offset

    @classmethod
    def empty(cls, device: Device, spec: ArraySpec) -> DeviceArray:
        """A new array, uninitialised.

        Raises:
            DeviceOutOfMemory: it does not fit.
        """
        return cls(device, device.allocate(spec.nbytes), spec)

    def close(self) -> None:
        """Give the memory back. Neither the array nor others in the same memory can be used afterwards."""
        self.memory.close()

    @property
    def shape(self) -> tuple[int, ...]:
        """Elements along each axis."""
        return self.spec.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of an element."""
        return self.spec.dtype

    def numpy(self) -> np.ndarray:
        """A copy in host memory."""
        stream = self.device.stream()
        result = np.empty(self.shape, self.dtype)
        self.download(result, stream)
        stream.synchronize()
        return result

    def upload(self, source: np.ndarray, stream: Stream) -> None:
        """Copy a contiguous array of the same size here, ordered on `stream`.

        From pinned memory this returns at once, and `source` must stay unchanged until the stream has come here.
        """
        stream.upload(self.pointer, source)

    def download(self, target: np.ndarray, stream: Stream) -> None:
        """Copy into a contiguous array of the same size, ordered on `stream`; it is complete when the stream is."""
        stream.download(target, self.pointer)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "stream": None,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return _DLPACK_CUDA, self.device.index

    def __dlpack__(self, **_: Any) -> Any:
        """A capsule for `from_dlpack`. The array is complete, so the consumer's stream has nothing to wait for."""
        return _capsule(self)


_DLPACK_CUDA = 2
_DLPACK_KINDS = {"i": 0, "u": 1, "f": 2}
_NAME = b"dltensor"


class _Tensor(ctypes.Structure):
    """`DLTensor`; strides may be null for contiguous ones."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_number", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("kind", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    """`DLManagedTensor`: a tensor, and what its consumer calls when it is done."""


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter)]

_Destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
_new_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _Destructor)(
    ("PyCapsule_New", ctypes.pythonapi)
)
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_address_in = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)

# Address of a tensor handed over -> what must live as long as its consumer has it.
_lent: dict[int, tuple[Any, ...]] = {}


@_Deleter
def _given_back(managed: Any) -> None:
    """A consumer is done."""
    _lent.pop(ctypes.addressof(managed.contents), None)


@_Destructor
def _dropped(capsule: int) -> None:
    """A capsule goes away. A consumer renames what it takes; under its own name nobody ever took the tensor."""
    if _is_valid(capsule, _NAME):
        _lent.pop(_address_in(capsule, _NAME), None)


def _capsule(array: DeviceArray) -> Any:
    shape = (ctypes.c_int64 * len(array.shape))(*array.shape)
    kind, bits = _DLPACK_KINDS[array.dtype.kind], 8 * array.dtype.itemsize
    tensor = _Tensor(array.pointer, _DLPACK_CUDA, array.device.index, len(shape), kind, bits, 1, shape, None, 0)
    managed = _Managed(tensor, None, _given_back)
    address = ctypes.addressof(managed)
    _lent[address] = (managed, shape, array)
    return _new_capsule(address, _NAME, _dropped)
