"""Launch kernels on a device with arrays of the host, as `emulation.kernels.Kernels` does in the emulator.

Knows inputs, outputs and arrays that change, marked as for the emulator. Each kernel runs twice, over outputs of two
different fillings: a byte that nobody writes shows as a difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from emulation.emulator import Argument, Changed, Out

from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
from fastlic.kernels.cuda.driver import Device
from fastlic.kernels.cuda.launch import Launch
from fastlic.kernels.cuda.library import KernelLibrary

FILLINGS = (0xCD, 0x31)


class DeviceKernels:
    """All installed kernels, on one device."""

    def __init__(self, device: Device) -> None:
        self.device, self._library = device, KernelLibrary(device)

    def __call__(self, plan: Launch, arguments: Sequence[Argument], reverse: bool = False) -> None:
        """Run one launch, and bring what it wrote back; the device chooses the order whatever `reverse` says."""
        first, second = (self._once(plan, arguments, filling) for filling in FILLINGS)
        for argument, one, other in zip(arguments, first, second, strict=True):
            if isinstance(argument, Out) and not argument.partial:
                np.testing.assert_array_equal(one, other, err_msg=f"{plan.kernel} did not write all of an output")
            if isinstance(argument, Out | Changed):
                argument.array.reshape(-1).view(np.uint8)[...] = one

    def _once(self, plan: Launch, arguments: Sequence[Argument], filling: int) -> list[np.ndarray | None]:
        """The bytes of each array after one launch; None for scalars."""
        stream = self.device.stream()
        on_device: list[DeviceArray | int] = []
        for argument in arguments:
            if isinstance(argument, int):
                on_device.append(_int32(argument))
                continue
            values = argument if isinstance(argument, np.ndarray) else argument.array
            array = DeviceArray.empty(self.device, ArraySpec(np.dtype(np.uint8), (values.nbytes,)))
            if isinstance(argument, Out):
                stream.fill(array.pointer, filling, values.nbytes)
            else:
                array.upload(np.ascontiguousarray(values).reshape(-1).view(np.uint8), stream)
            on_device.append(array)
        self._library.launch(plan, on_device, stream)
        stream.synchronize()
        results = [None if isinstance(array, int) else array.numpy() for array in on_device]
        for array in on_device:
            if not isinstance(array, int):
                array.close()
        return results


def _int32(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value
