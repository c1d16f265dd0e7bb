"""A picture's synthesis on the device: its picture-scope steps, window by window, into one array.

Knows windows and halos, as `schedule.run_in_windows` does for the host; knows nothing of tiles.
Rule: docs/format.md, section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fastlic.errors import BundleError
from fastlic.kernels.cuda.addresses import Region
from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
from fastlic.kernels.cuda.driver import Stream
from fastlic.runtime.device.memory import Arena
from fastlic.runtime.device.student import DeviceStudent
from fastlic.runtime.device.work import Work
from fastlic.runtime.engines.device import BoundGraph
from fastlic.runtime.manifest import IMAGE, RATE, Port, Run
from fastlic.runtime.schedule import Timings
from fastlic.runtime.tiles import Box, windows


class DevicePicture:
    """Buffers, bound graphs and captured work for pictures of one padded size; one picture at a time.

    Args:
        student: on the device.
        padded: the padded picture, in pixels.
        tensors: what the steps need, for the whole padded picture.
        stream: for all work.
        arena: for all memory.

    Attributes:
        image: uint8 (height, width, 3) of the padded picture.
    """

    def __init__(
        self,
        student: DeviceStudent,
        padded: Box,
        tensors: Mapping[str, DeviceArray],
        *,
        stream: Stream,
        arena: Arena,
    ) -> None:
        self._student, self._padded, self._stream, self._arena = student, padded, stream, arena
        self._tensors = dict(tensors)
        self._bound: dict[tuple[str, int, int], tuple[list[DeviceArray], list[DeviceArray], BoundGraph]] = {}
        self._work = arena.own(Work(stream))
        for step in student.picture_steps:
            self._add_step(step)
        self.image = self._tensors[IMAGE]

    def enqueue(self, timings: Timings | None) -> None:
        """Enqueue the synthesis; the image is complete when `wait` returns."""
        self._work.enqueue(timings)

    def wait(self) -> None:
        """Wait for what was enqueued last."""
        self._work.wait()

    def _add_step(self, step: Run) -> None:
        spec = self._student.manifest.graphs[step.graph]
        for inner, outer in windows(self._padded, self._student.manifest.multiple, spec.halo):
            whole = outer == self._padded
            inputs, outputs, bound = self._binding(step, outer, whole)
            if not whole:
                for name, port, array in zip(step.inputs, spec.inputs, inputs, strict=True):
                    self._copy(name, port, self._tensors[name], outer, array, outer.within(outer))
            self._work.add(step.graph, bound.enqueue, bound.capturable)
            for name, port, array in zip(step.outputs, spec.outputs, outputs, strict=True):
                if whole:
                    self._tensors[name] = array
                    continue
                if name not in self._tensors:
                    shape = _shape(name, array.shape, self._padded.scaled(port.stride))
                    self._tensors[name] = self._arena.array(array.dtype, *shape)
                self._copy(name, port, array, inner.within(outer), self._tensors[name], inner)

    def _binding(
        self, step: Run, outer: Box, whole: bool
    ) -> tuple[Sequence[DeviceArray], Sequence[DeviceArray], BoundGraph]:
        """The graph bound for windows of this size: to buffers of its own, or to the whole tensors."""
        key = (step.graph, outer.width, outer.height)
        if key not in self._bound:
            spec = self._student.manifest.graphs[step.graph]
            graph = self._student.graph(step.graph)
            inputs = [self._tensors[name] for name in step.inputs]
            if not whole:
                inputs = [
                    array if name == RATE else self._window(name, array, outer.scaled(port.stride))
                    for name, port, array in zip(step.inputs, spec.inputs, inputs, strict=True)
                ]
            specs = graph.outputs([array.spec for array in inputs])
            if len(specs) != len(step.outputs):
                raise BundleError(
                    f"graph {step.graph}: gives {len(specs)} outputs, {len(step.outputs)} are expected. "
                    "Export the bundle again."
                )
            for name, port, given in zip(step.outputs, spec.outputs, specs, strict=True):
                _check_output(step, name, given, outer.scaled(port.stride))
            outputs = [self._arena.array(given.dtype, *given.shape) for given in specs]
            self._bound[key] = inputs, outputs, self._arena.own(graph.bind(inputs, outputs, self._stream))
        return self._bound[key]

    def _window(self, name: str, whole: DeviceArray, area: Box) -> DeviceArray:
        return self._arena.array(whole.dtype, *_shape(name, whole.shape, area))

    def _copy(self, name: str, port: Port, source: DeviceArray, part: Box, target: DeviceArray, place: Box) -> None:
        """Append the copy of a part of one tensor, given in pixels, to a place in another."""
        if name == RATE:
            return
        part, place = part.scaled(port.stride), place.scaled(port.stride)
        self._work.add("windows", lambda: copy_part(self._stream, name, source, part, target, place))


def copy_part(stream: Stream, name: str, source: DeviceArray, part: Box, target: DeviceArray, place: Box) -> None:
    """Copy a part of one tensor to a place in another on the device.

    Args:
        stream: where to enqueue it.
        name: of the tensor; the image is (h, w, 3), every other one (..., h, w).
        source: contiguous.
        part: in elements of the source.
        target: contiguous, of the same type and leading axes.
        place: in elements of the target, of the part's size.
    """
    column = source.dtype.itemsize * (3 if name == IMAGE else 1)
    planes = 1 if name == IMAGE else int(np.prod(source.shape[:-2]))
    stream.copy_box(
        _region(name, source, part, column),
        _region(name, target, place, column),
        (planes, part.height, part.width * column),
    )


def _region(name: str, array: DeviceArray, box: Box, column: int) -> Region:
    height, width = array.shape[:2] if name == IMAGE else array.shape[-2:]
    pitch = width * column
    return Region(array.pointer + box.top * pitch + box.left * column, pitch, height)


def _shape(name: str, shape: tuple[int, ...], area: Box) -> tuple[int, ...]:
    """The shape of a tensor over another area."""
    return (area.height, area.width, 3) if name == IMAGE else (*shape[:-2], area.height, area.width)


def _check_output(step: Run, name: str, spec: ArraySpec, area: Box) -> None:
    """Raise `BundleError` unless an output covers `area` elements."""
    fits = spec.shape == _shape(name, spec.shape, area) and (name != IMAGE or spec.dtype == np.uint8)
    if not fits:
        raise BundleError(
            f"tensor {name}: graph {step.graph} gives {spec}, {_shape(name, spec.shape, area)} is expected. "
            "Export the bundle again."
        )
