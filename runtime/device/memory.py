"""Memory that belongs together: allocated piece by piece, given back at once.

Knows arrays on the device and pinned ones; knows nothing of what is in them.
"""

from __future__ import annotations

import numpy as np

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


class Arena:
    """Memory on one device that is given back together.

    Args:
        device: whose.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._owned: list[DeviceArray | PinnedArray] = []

    def array(self, dtype: type[np.generic] | np.dtype, *shape: int) -> DeviceArray:
        """An array on the device, uninitialised.

        Raises:
            DeviceOutOfMemory: it does not fit.
        """
        array = DeviceArray.empty(self.device, ArraySpec(np.dtype(dtype), shape))
        self._owned.append(array)
        return array

    def pinned(self, dtype: type[np.generic] | np.dtype, *shape: int) -> PinnedArray:
        """An array in pinned memory, uninitialised.

        Raises:
            DeviceOutOfMemory: so much cannot be pinned.
        """
        spec = ArraySpec(np.dtype(dtype), shape)
        array = PinnedArray(self.device.allocate_host(spec.nbytes), spec)
        self._owned.append(array)
        return array

    def uploaded(self, values: np.ndarray) -> DeviceArray:
        """An array on the device with these values, complete."""
        array, stream = self.array(values.dtype, *values.shape), self.device.stream()
        array.upload(np.ascontiguousarray(values), stream)
        stream.synchronize()
        return array

    def close(self) -> None:
        """Give everything back; no work on it may be under way."""
        owned, self._owned = self._owned, []
        for array in owned:
            array.close()
