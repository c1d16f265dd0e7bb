"""Work for one stream between two places where the host must act; replayed as CUDA graphs once it has run.

Knows operations by stage; knows nothing of what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

from fastlic.kernels.cuda.driver import Graph, Stream
from fastlic.runtime.schedule import Timings, stage


class Operation(NamedTuple):
    """Something to enqueue, always with the same addresses."""

    stage: str
    enqueue: Callable[[], None]
    capturable: bool


class Work:
    """Operations in order. The first run loads what is loaded lazily; later runs launch what was captured.

    Args:
        stream: that all operations are on.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._operations: list[Operation] = []
        self._ran = False
        self._graphs: list[Graph] = []
        self._launches: list[Callable[[], None]] = []
        self._done = stream.device.event()

    def add(self, stage: str, enqueue: Callable[[], None], capturable: bool = True) -> None:
        """Append an operation; `capturable` unless a CUDA graph cannot hold it."""
        self._operations.append(Operation(stage, enqueue, capturable))

    def enqueue(self, timings: Timings | None = None) -> None:
        """Enqueue everything and return; with `timings`, wait after each operation and add its seconds.

        Raises:
            DeviceFailure: the driver refuses something.
        """
        with self._stream.lock:
            if timings is not None or not self._ran:
                for operation in self._operations:
                    with stage(timings, operation.stage):
                        operation.enqueue()
                        if timings is not None:
                            self._stream.synchronize()
                self._ran = True
            else:
                if not self._launches:
                    self._capture()
                for launch in self._launches:
                    launch()
            self._done.record(self._stream)

    def wait(self) -> None:
        """Wait for what was enqueued last."""
        self._done.synchronize()

    def close(self) -> None:
        """Drop what was captured; also after an address has changed, before more is enqueued."""
        for graph in self._graphs:
            graph.close()
        self._graphs, self._launches = [], []

    def _capture(self) -> None:
        """Neighbours that can be captured become one graph."""
        for capturable, group in groupby(self._operations, key=lambda operation: operation.capturable):
            enqueues = [operation.enqueue for operation in group]
            if capturable and len(enqueues) > 1:
                graph = self._stream.capture(partial(_all, enqueues))
                self._graphs.append(graph)
                self._launches.append(partial(graph.launch, self._stream))
            else:
                self._launches += enqueues


def _all(actions: Sequence[Callable[[], None]]) -> None:
    for action in actions:
        action()
