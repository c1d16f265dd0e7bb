"""Run an engine: from bytes to something that enqueues work on a stream.

Knows the library's runtime; knows nothing of caches or of how engines come about. An engine is only ever deserialised
after its file has been checked, by `store`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from fastlic.errors import BundleError, DeviceFailure, DeviceOutOfMemory, FastlicError
from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
from fastlic.kernels.cuda.driver import Device, Stream
from fastlic.runtime.engines.forks import kept_in_children
from fastlic.runtime.engines.tensorrt.library import Library

_IDLE = 2
"""Contexts kept for later bindings of a shape."""
_PAIR = 2
"""Last axis of a port of bytes that stands for int16; see `forms.Form`."""


class LoadedEngine:
    """A deserialised engine of fixed shapes. Bindings may be made by several threads; each runs in one at a time.

    Args:
        library: that built it.
        device: to run on.
        name: of the graph, for messages.
        content: the serialised engine.
        finished: what the device compiled of it earlier, for TensorRT for RTX.
        keep_finished: takes that, when the device has compiled it anew.

    Attributes:
        engine: the library's own.

    Raises:
        BundleError: the library does not accept it.
    """

    def __init__(
        self,
        library: Library,
        device: Device,
        name: str,
        content: bytes,
        finished: bytes = b"",
        keep_finished: Callable[[bytes], None] | None = None,
    ) -> None:
        self._library, self._device, self._name, self._keep = library, device, name, keep_finished
        self._finished = finished
        self._idle: list[Any] = []
        self._lock = threading.Lock()
        with device.current():
            self._runtime = library.trt.Runtime(library.logger)
            self.engine = self._runtime.deserialize_cuda_engine(content)
        if self.engine is None:
            raise BundleError(f"graph {name}: {library.title} does not accept its engine: {library.complaints()}")
        names = [self.engine.get_tensor_name(number) for number in range(self.engine.num_io_tensors)]
        mode = library.trt.TensorIOMode.INPUT
        self.inputs = [port for port in names if self.engine.get_tensor_mode(port) == mode]
        self.outputs = [port for port in names if port not in self.inputs]
        kept_in_children(self)

    def output_specs(self) -> list[ArraySpec]:
        """Type and shape of each output, as the bundle's graph has them."""
        return [self._spec(port) for port in self.outputs]

    def take_context(self) -> Any:
        """An execution context, which has device memory of its own: an idle one, or a new one.

        Contexts are used again, because each new one loads a plugin's kernels again.

        Raises:
            DeviceOutOfMemory: there is not enough memory.
        """
        with self._device.current(), self._lock:
            context = self._idle.pop() if self._idle else self._make_context()
        if context is None:
            raise DeviceOutOfMemory(f"graph {self._name}: {self._library.complaints()}")
        return context

    def give_back(self, context: Any) -> None:
        """Keep a context for the next binding, or let it go when there are some already."""
        with self._device.current(), self._lock:
            if self.engine is not None and len(self._idle) < _IDLE:
                self._idle.append(context)
            del context

    def close(self) -> None:
        """Release idle contexts and the engine. No context of it may be in use."""
        with self._device.current(), self._lock:
            self._idle.clear()
            self.engine = self._runtime = None

    def __del__(self) -> None:
        # The library destroys its objects in whatever context is current: that must be ours.
        if not sys.is_finalizing() and getattr(self, "engine", None) is not None:
            with suppress(FastlicError):
                self.close()

    def bind(self, inputs: Sequence[DeviceArray], outputs: Sequence[DeviceArray], stream: Stream) -> BoundContext:
        """A context whose addresses are settled; see `DeviceGraph.bind`."""
        context = self.take_context()
        for port, array in zip((*self.inputs, *self.outputs), (*inputs, *outputs), strict=True):
            if not context.set_tensor_address(port, array.pointer):
                raise BundleError(f"graph {self._name}: port {port}: {self._library.complaints()}")
        return BoundContext(self, self._library, self._device, self._name, context, stream)

    def _make_context(self) -> Any:
        if not self._library.finishes_on_the_device:
            return self.engine.create_execution_context()
        # The device compiles the engine's kernels when a context is made; what it has made is kept for the next time.
        settings = self.engine.create_runtime_config()
        compiled = settings.create_runtime_cache()
        if self._finished:
            compiled.deserialize(self._finished)
        settings.set_runtime_cache(compiled)
        context = self.engine.create_execution_context(settings)
        made = bytes(compiled.serialize())
        if made != self._finished and self._keep is not None:
            self._keep(made)
            self._finished = made
        return context

    def _spec(self, port: str) -> ArraySpec:
        shape = tuple(self.engine.get_tensor_shape(port))
        kind = np.dtype(self._library.trt.nptype(self.engine.get_tensor_dtype(port)))
        if kind == np.uint8 and shape[-1] == _PAIR:
            return ArraySpec(np.dtype(np.int16), shape[:-1])
        return ArraySpec(kind, shape)


class BoundContext:
    """An execution context with its addresses and its stream settled; see `BoundGraph`."""

    capturable = True

    def __init__(
        self, engine: LoadedEngine, library: Library, device: Device, name: str, context: Any, stream: Stream
    ) -> None:
        self._loaded, self._context, self._stream = engine, kept_in_children(context), stream
        self._library, self._device, self._name = library, device, name

    def enqueue(self) -> None:
        """See `BoundGraph`."""
        with self._device.current():
            if not self._context.execute_async_v3(self._stream.handle):
                raise DeviceFailure(f"graph {self._name}: {self._library.title}: {self._library.complaints()}")

    def close(self) -> None:
        """See `BoundGraph`."""
        context, self._context = self._context, None
        if context is not None:
            self._loaded.give_back(context)

    def __del__(self) -> None:
        if not sys.is_finalizing():
            with suppress(FastlicError):
                self.close()


def form_shape(spec: ArraySpec) -> tuple[int, ...]:
    """The shape of a port in the form for TensorRT."""
    return (*spec.shape, _PAIR) if spec.dtype == np.int16 else spec.shape
