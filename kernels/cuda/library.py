"""The installed kernels on one device, loaded when they are first launched.

Knows which source a kernel is in; what to launch, and in what grid, stands in `launch`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from fastlic.kernels.cuda import fatbins
from fastlic.kernels.cuda.addresses import Addressed
from fastlic.kernels.cuda.driver import Device, Function, Module, Stream
from fastlic.kernels.cuda.launch import KERNELS, Launch

_SOURCES = {kernel: source for source, kernels in KERNELS.items() for kernel in kernels}


class KernelLibrary:
    """Launches kernels by plan. May be used by several threads at once.

    Args:
        device: where they run.

    Raises:
        KernelsUnavailable: fastlic was installed without its kernels.
    """

    def __init__(self, device: Device) -> None:
        if missing := fatbins.missing():
            fatbins.load(missing[0])  # raises, and says how to install them
        self.device = device
        self._modules: dict[str, Module] = {}
        self._functions: dict[str, Function] = {}
        self._lock = threading.Lock()

    def launch(self, plan: Launch, arguments: Sequence[Addressed | int], stream: Stream) -> None:
        """Enqueue one launch; see `Function.launch`.

        Raises:
            KernelsUnavailable: the installed kernels do not fit this device or this version of fastlic.
        """
        self._function(plan.kernel).launch(plan, arguments, stream)

    def close(self) -> None:
        """Unload everything."""
        with self._lock:
            self._functions.clear()
            for module in self._modules.values():
                module.close()
            self._modules.clear()

    def _function(self, kernel: str) -> Function:
        with self._lock:
            if kernel not in self._functions:
                source = _SOURCES[kernel]
                if source not in self._modules:
                    self._modules[source] = self.device.load(fatbins.load(source))
                self._functions[kernel] = self._modules[source].function(kernel)
            return self._functions[kernel]
