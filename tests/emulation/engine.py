"""An engine on the emulated device: its graphs read and write device memory, on a stream, and are run by ONNX Runtime.

Stands in for engines that need a GPU, so that the decode that stays on a device runs in tests.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from emulation.cuda import EmulatedCuda

from fastlic.kernels.cuda import driver
from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
from fastlic.kernels.cuda.driver import Stream
from fastlic.runtime import engines
from fastlic.runtime.engines import EngineInfo, Graph
from fastlic.runtime.engines.device import HostGraph


class EmulatedEngine:
    """An engine whose device is emulated.

    Args:
        cuda: the installed emulated driver.
        capturable: what its bound graphs say of themselves.
        one_stream: whether all graphs run on one stream.
    """

    name = "emulated"

    def __init__(self, cuda: EmulatedCuda, *, capturable: bool = True, one_stream: bool = False) -> None:
        self.cuda, self.capturable = cuda, capturable
        self.device = driver.open_device(0)
        self._host = engines.create("ort-cpu", threads=1)
        self._stream = self.device.stream() if one_stream else None
        self._graphs: list[HostGraph] = []
        self.bindings = 0

    def load(self, model: bytes, name: str, exact: bool) -> Graph:
        graph = HostGraph(self, self.load_on_device(model, name, exact))
        self._graphs.append(graph)
        return graph

    def load_on_device(self, model: bytes, name: str, exact: bool) -> EmulatedGraph:
        return EmulatedGraph(self, self._host.load(model, name, exact))

    def open_stream(self) -> Stream:
        return self._stream or self.device.stream()

    def info(self) -> EngineInfo:
        return EngineInfo(self.name, "0", self.device.name, 1)

    def close(self) -> None:
        for graph in self._graphs:
            graph.close()
        self._host.close()


class EmulatedGraph:
    """A graph of that engine."""

    def __init__(self, engine: EmulatedEngine, graph: Graph) -> None:
        self.engine, self.run = engine, graph

    def outputs(self, inputs: Sequence[ArraySpec]) -> list[ArraySpec]:
        made = self.run([np.zeros(spec.shape, spec.dtype) for spec in inputs])
        return [ArraySpec(array.dtype, array.shape) for array in made]

    def bind(self, inputs: Sequence[DeviceArray], outputs: Sequence[DeviceArray], stream: Stream) -> EmulatedBinding:
        self.engine.bindings += 1
        return EmulatedBinding(self, inputs, outputs, stream.handle)


class EmulatedBinding:
    """It uses pointers, as other libraries do."""

    def __init__(
        self, graph: EmulatedGraph, inputs: Sequence[DeviceArray], outputs: Sequence[DeviceArray], stream: int
    ) -> None:
        self.capturable = graph.engine.capturable
        self._graph, self._stream = graph, stream
        self._inputs, self._outputs = ([(array.pointer, array.spec) for array in side] for side in (inputs, outputs))

    def enqueue(self) -> None:
        self._graph.engine.cuda.enqueue(self._stream, self._run)

    def close(self) -> None:
        self._graph.engine.bindings -= 1

    def _run(self) -> None:
        at = self._graph.engine.cuda.at
        inputs = [at(pointer, spec.nbytes).view(spec.dtype).reshape(spec.shape) for pointer, spec in self._inputs]
        for (pointer, spec), result in zip(self._outputs, self._graph.run(inputs), strict=True):
            assert (result.dtype, result.shape) == spec
            at(pointer, spec.nbytes)[...] = result.reshape(-1).view(np.uint8)
