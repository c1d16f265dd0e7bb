"""The entropy tiles of one size on the device: a student's tile-scope steps, cut where the host reads a pass.

Knows steps and named tensors, as `schedule.code_tile` does for the host; knows nothing of files or whole pictures.
Rule: docs/format.md, sections 2.2 and 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fastlic.errors import BundleError
from fastlic.kernels.cuda import launch
from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray
from fastlic.kernels.cuda.driver import Stream
from fastlic.runtime.deadline import Deadline
from fastlic.runtime.device.memory import Arena, PinnedArray
from fastlic.runtime.device.passes import DevicePass, HandOver, HostPass, Place, RowsPass, Site
from fastlic.runtime.device.student import DeviceStudent
from fastlic.runtime.device.work import Work
from fastlic.runtime.entropy.reader import StreamReader
from fastlic.runtime.entropy.tables import MixtureTables
from fastlic.runtime.manifest import Code, Run
from fastlic.runtime.schedule import Timings, stage
from fastlic.runtime.tiles import Box


class _Round(NamedTuple):
    """Work of the device, then a pass that the host reads."""

    work: Work
    code: DevicePass


class DeviceTile:
    """Buffers, bound graphs and captured work for tiles of one size; one tile at a time.

    Args:
        student: on the device.
        width: in pixels.
        height: likewise.
        rows: whether kernels prepare passes, which needs the native reader.
        stream: for all work.
        arena: for all memory.

    Attributes:
        tensors: on the device, by name: latents int16 (C, h, w), and what graphs give.
    """

    def __init__(
        self, student: DeviceStudent, width: int, height: int, *, rows: bool, stream: Stream, arena: Arena
    ) -> None:
        self._student, self._stream, self._arena, self._use_rows = student, stream, arena, rows
        self.tensors: dict[str, DeviceArray] = {}
        self._symbols: dict[str, PinnedArray] = {}
        self._active: dict[str, tuple[PinnedArray, DeviceArray]] = {}
        self._given = {name: arena.pinned(np.int32, 1) for name in student.given}
        start = arena.own(Work(stream))
        for name, given in self._given.items():
            self._upload(start, name, given)
        box = Box(0, 0, width, height)
        for name, latent in student.manifest.coded.items():
            area = box.scaled(latent.stride)
            self.tensors[name] = arena.array(np.int16, latent.channels, area.height, area.width)
            self._symbols[name] = arena.pinned(np.int16, *self.tensors[name].shape)
            self._active[name] = arena.pinned(np.uint8, latent.channels), arena.array(np.uint8, latent.channels)
            self._add_beginning(start, name)
        self._hand_over = HandOver(arena, self._largest_pass())
        self._rounds, self._end = self._built(start)

    def decode(
        self,
        reader: StreamReader,
        active: Mapping[str, np.ndarray],
        given: Mapping[str, np.ndarray],
        where: str,
        deadline: Deadline,
        timings: Timings | None,
    ) -> None:
        """Read one tile and enqueue the rest of its work. Its latents and tensors are complete when the stream is.

        Args:
            reader: of its streams.
            active: latent -> bool (C,), for the latents with a channel map.
            given: tensors that are there from the beginning.
            where: the tile, for messages.
            deadline: asked before every pass.
            timings: seconds per stage are added here.

        Raises:
            CorruptedStream, BundleError, DeviceOutOfMemory, DeviceFailure, TimedOut, Cancelled: as their names say.
        """
        for name, (pinned, _) in self._active.items():
            pinned.host[...] = active.get(name, True)
        for name, values in given.items():
            self._given[name].host[...] = values
        for work, code in self._rounds:
            step = code.place.step
            deadline.check(f"{where}, code {code.place.name}")
            work.enqueue(timings)
            if code.waits:
                work.wait()
            moves, mask = self._hand_over.moves, active.get(step.latent)
            with stage(timings, f"code {code.place.name}"):
                code.read(reader, None if mask is None else mask[slice(*step.channels)])
            if self._hand_over.moves != moves:
                for round_ in self._rounds:
                    round_.work.close()
        self._end.enqueue(timings)

    def host_symbols(self) -> dict[str, np.ndarray]:
        """Wait for the tile decoded last: its latents on the host, int16 (C, h, w), valid until the next tile."""
        self._end.wait()
        return {name: pinned.host for name, pinned in self._symbols.items()}

    def _built(self, work: Work) -> tuple[list[_Round], Work]:
        rounds = []
        for step in self._student.tile_steps:
            if isinstance(step, Run):
                self._add_graph(work, step)
                continue
            code = self._pass(step)
            code.prepare(work)
            rounds.append(_Round(work, code))
            work = self._arena.own(Work(self._stream))
            code.scatter(work)
        for name, pinned in self._symbols.items():
            self._download(work, self.tensors[name], pinned)
        return rounds, work

    def _add_graph(self, work: Work, step: Run) -> None:
        graph = self._student.graph(step.graph)
        inputs = [self.tensors[name] for name in step.inputs]
        specs = graph.outputs([array.spec for array in inputs])
        if len(specs) != len(step.outputs):
            raise BundleError(
                f"graph {step.graph}: gives {len(specs)} outputs, {len(step.outputs)} are expected. "
                "Export the bundle again."
            )
        outputs = [self._arena.array(spec.dtype, *spec.shape) for spec in specs]
        bound = self._arena.own(graph.bind(inputs, outputs, self._stream))
        work.add(step.graph, bound.enqueue, bound.capturable)
        self.tensors.update(zip(step.outputs, outputs, strict=True))

    def _pass(self, step: Code) -> DevicePass:
        place = Place(step, self.tensors[step.latent])
        tables = self._student.distributions[step.distribution]
        parameters = None if step.parameters is None else self.tensors[step.parameters]
        site = Site(self._arena, self._student.library, self._stream)
        if isinstance(tables, MixtureTables) and self._use_rows and _has_kernel(tables):
            assert parameters is not None  # the manifest was checked
            first, end = step.channels
            _, active = self._active[step.latent]
            active = DeviceArray(active.device, active.memory, ArraySpec(active.dtype, (end - first,)), first)
            on_device = self._student.tables_on_device(step.distribution)
            return RowsPass(place, tables, on_device, parameters, active, site, self._hand_over)
        return HostPass(place, tables, parameters, site)

    def _largest_pass(self) -> int:
        steps = [step for step in self._student.tile_steps if isinstance(step, Code)]
        return max(Place(step, self.tensors[step.latent]).size for step in steps)

    def _upload(self, work: Work, name: str, pinned: PinnedArray) -> None:
        array = self._arena.array(pinned.host.dtype, *pinned.host.shape)
        self.tensors[name] = array
        work.add("upload", lambda: array.upload(pinned.host, self._stream))

    def _add_beginning(self, work: Work, name: str) -> None:
        latent, (pinned, active) = self.tensors[name], self._active[name]
        work.add("upload", lambda: self._stream.fill(latent.pointer, 0, latent.spec.nbytes))
        work.add("upload", lambda: active.upload(pinned.host, self._stream))

    def _download(self, work: Work, array: DeviceArray, pinned: PinnedArray) -> None:
        work.add("download symbols", lambda: array.download(pinned.host, self._stream))


def _has_kernel(mixture: MixtureTables) -> bool:
    return launch.has_mixture(len(mixture.families), mixture.components)
