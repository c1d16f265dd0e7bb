"""What an engine on a GPU offers besides `Engine`: graphs that read and write device memory on a stream.

Knows how device graphs are bound, and how one is called from the host; knows nothing of schedules. Addresses are given
once per shape, when a graph is bound, so that decoding sets nothing up and the work can be captured.
`runtime/device` decodes with such graphs; everything else calls them through `HostGraph`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from fastlic.runtime.engines import Engine

if TYPE_CHECKING:
    from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
    from fastlic.kernels.cuda.driver import Device, Stream


class BoundGraph(Protocol):
    """A graph with its inputs, outputs and stream settled. Used by one thread at a time.

    Attributes:
        capturable: whether `enqueue` may be captured into a CUDA graph once it has run.
    """

    capturable: bool

    def enqueue(self) -> None:
        """Enqueue one evaluation on the stream, and return.

        Raises:
            BundleError: the graph fails on these inputs.
            DeviceOutOfMemory: there is not enough memory for them.
            DeviceFailure: the device reports an error.
        """

    def close(self) -> None:
        """Release what belongs to this binding. No work of it may be under way."""


class DeviceGraph(Protocol):
    """A loaded graph. May be used by several threads at once."""

    def outputs(self, inputs: Sequence[ArraySpec]) -> list[ArraySpec]:
        """Type and shape of each output, for inputs of these types and shapes.

        Raises:
            BundleError: the graph does not accept them.
            DeviceOutOfMemory: there is not enough memory for them.
        """

    def bind(self, inputs: Sequence[DeviceArray], outputs: Sequence[DeviceArray], stream: Stream) -> BoundGraph:
        """Settle where to read and write, and on which stream of `DeviceEngine.open_stream`.

        Args:
            inputs: one array per input port.
            outputs: one array per output port, as `outputs` says; they overlap with no input.
            stream: of this engine.

        Raises:
            BundleError: the graph does not accept these shapes.
            DeviceOutOfMemory: there is not enough memory for them.
        """


@runtime_checkable
class DeviceEngine(Engine, Protocol):
    """An engine whose graphs can stay on a device.

    Attributes:
        device: which.
    """

    device: Device

    def load_on_device(self, model: bytes, name: str, exact: bool) -> DeviceGraph:
        """Prepare one ONNX graph; as `Engine.load`."""

    def open_stream(self) -> Stream:
        """A stream to bind graphs to: a new one, or the one that all graphs of this engine run on."""


class HostGraph:
    """A device graph as `Graph`: arrays of the host in, arrays of the host out.

    The binding for the last shapes is kept. Calls wait for each other.

    Args:
        engine: that loaded the graph.
        graph: what to call.
    """

    def __init__(self, engine: DeviceEngine, graph: DeviceGraph) -> None:
        self._engine, self._graph = engine, graph
        self._lock = threading.Lock()
        self._binding: _HostBinding | None = None

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `Graph`."""
        from fastlic.kernels.cuda.arrays import ArraySpec

        specs = [ArraySpec(array.dtype, array.shape) for array in inputs]
        with self._lock:
            if self._binding is None or self._binding.specs != specs:
                self._drop_binding()
                self._binding = _HostBinding(self._engine, self._graph, specs)
            return self._binding(inputs)

    def close(self) -> None:
        """Release the binding."""
        with self._lock:
            self._drop_binding()

    def _drop_binding(self) -> None:
        binding, self._binding = self._binding, None
        if binding is not None:
            binding.close()


class _HostBinding:
    """A device graph bound to arrays of its own."""

    def __init__(self, engine: DeviceEngine, graph: DeviceGraph, specs: list[ArraySpec]) -> None:
        from fastlic.kernels.cuda.arrays import DeviceArray

        self.specs = specs
        self._stream = engine.open_stream()
        made: list[DeviceArray] = []
        try:
            for spec in (*specs, *graph.outputs(specs)):
                made.append(DeviceArray.empty(engine.device, spec))
            self._inputs, self._outputs = made[: len(specs)], made[len(specs) :]
            self._bound = graph.bind(self._inputs, self._outputs, self._stream)
        except BaseException:
            for array in made:
                array.close()
            raise

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        results = [np.empty(array.shape, array.dtype) for array in self._outputs]
        with self._stream.lock:
            for array, source in zip(self._inputs, inputs, strict=True):
                array.upload(np.ascontiguousarray(source), self._stream)
            self._bound.enqueue()
            for array, target in zip(self._outputs, results, strict=True):
                array.download(target, self._stream)
            self._stream.synchronize()
        return results

    def close(self) -> None:
        """Release the memory."""
        self._bound.close()
        for array in (*self._inputs, *self._outputs):
            array.close()
