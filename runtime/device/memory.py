"""What belongs together on a device: made piece by piece, given back at once.

Knows arrays on the device and pinned ones; knows nothing of what is in them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol, TypeVar

import numpy as np

from fastlic.errors import DeviceFailure
from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
from fastlic.kernels.cuda.driver import Device, HostBuffer


class PinnedArray:
    """An array that host and device both reach.

    Attributes:
        host: the array, as the host sees it.
        pointer: its address, as the device sees it.
    """

    def __init__(self, memory: HostBuffer, spec: ArraySpec) -> None:
        self._memory = memory
        self.pointer = memory.pointer
        self.host: np.ndarray = memory.view(spec.dtype, spec.shape)

    def close(self) -> None:
        """Give the memory back. `host` cannot be used afterwards."""
        del self.host
        self._memory.close()


class Closable(Protocol):
    """Something to be given back."""

    def close(self) -> None:
        """Give it back."""


Owned = TypeVar("Owned", bound=Closable)


class Arena:
    """Memory on one device, and what uses it.

    Args:
        device: whose.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._owned: list[Closable] = []

    def own(self, thing: Owned) -> Owned:
        """Close `thing` with the arena, before what was made earlier."""
        self._owned.append(thing)
        return thing

    def array(self, dtype: type[np.generic] | np.dtype, *shape: int) -> DeviceArray:
        """An array on the device, uninitialised.

        Raises:
            DeviceOutOfMemory: it does not fit.
        """
        return self.own(DeviceArray.empty(self.device, ArraySpec(np.dtype(dtype), shape)))

    def pinned(self, dtype: type[np.generic] | np.dtype, *shape: int) -> PinnedArray:
        """An array in pinned memory, uninitialised.

        Raises:
            DeviceOutOfMemory: so much cannot be pinned.
        """
        spec = ArraySpec(np.dtype(dtype), shape)
        return self.own(PinnedArray(self.device.allocate_host(spec.nbytes), spec))

    def uploaded(self, values: np.ndarray) -> DeviceArray:
        """An array on the device with these values, complete."""
        array, stream = self.array(values.dtype, *values.shape), self.device.stream()
        array.upload(np.ascontiguousarray(values), stream)
        stream.synchronize()
        return array

    def close(self) -> None:
        """Give everything back, the latest first; no work on it may be under way. A failed device keeps what it has."""
        while self._owned:
            with suppress(DeviceFailure):
                self._owned.pop().close()
