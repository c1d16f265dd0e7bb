"""What each graph is given when a picture of some size is decoded, found by decoding symbols that are all zero.

Knows the schedule; knows nothing of engines that need to be told beforehand, which is what this is for. No bitstream
and no encoder are needed, and every kind of student is the same to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fastlic.runtime.engines import Graph
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.manifest import IMAGE, Code
from fastlic.runtime.schedule import code_tile, run_in_windows
from fastlic.runtime.student import Student
from fastlic.runtime.tiles import TileGrid

Given = tuple[tuple[np.dtype, tuple[int, ...]], ...]
"""Type and shape of each input of a graph."""


class Recorder(Mapping[str, Graph]):
    """Graphs that note what they are given.

    Args:
        graphs: what evaluates them.

    Attributes:
        seen: graph -> the different kinds of inputs, in order of first use.
    """

    def __init__(self, graphs: Mapping[str, Graph]) -> None:
        self._graphs = graphs
        self.seen: dict[str, dict[Given, None]] = {}

    def __getitem__(self, name: str) -> Graph:
        graph = self._graphs[name]

        def call(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            self.seen.setdefault(name, {})[tuple((array.dtype, array.shape) for array in inputs)] = None
            return graph(inputs)

        return call

    def __iter__(self) -> Iterator[str]:
        return iter(self._graphs)

    def __len__(self) -> int:
        return len(self._graphs)


def inputs_of_a_decode(student: Student, width: int, height: int) -> dict[str, list[Given]]:
    """What each graph of a decode is given, for every tile and window of a picture.

    Args:
        student: loaded into an engine, which evaluates the graphs.
        width, height: of the picture, in pixels.
    """
    recorder = Recorder(student.graphs)
    grid = TileGrid.choose(width, height, student.manifest.multiple)

    def zeros(step: Code, pass_: Pass, _: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.zeros(pass_.shape, np.int16)

    rate = student.given(1 if student.manifest.rates else 0)
    tensors: dict[str, np.ndarray] = dict(rate)
    for box in {(box.width, box.height): box for box in grid}.values():
        tile = code_tile(
            student.manifest,
            student.tile_steps,
            box,
            recorder,
            student.distributions,
            {},
            zeros,
            given=rate,
        )
    padded = grid.padded
    for name, stride in student.synthesis_strides.items():
        if name not in tensors:
            shape = (*tile[name].shape[:-2], padded.height // stride, padded.width // stride)
            tensors[name] = np.zeros(shape, tile[name].dtype)
    tensors[IMAGE] = np.empty((padded.height, padded.width, 3), np.uint8)
    for step in student.picture_steps:
        run_in_windows(student.manifest, step, padded, tensors, recorder)
    return {name: list(seen) for name, seen in recorder.seen.items()}
