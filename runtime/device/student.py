"""A student whose graphs and tables are on a device, and the workspaces in which its pictures are decoded.

Knows what is loaded once per student, and which workspaces are free; knows nothing of steps.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from fastlic.errors import BitstreamError, Cancelled, DeviceFailure, TimedOut
from fastlic.kernels.cuda.arrays import DeviceArray
from fastlic.kernels.cuda.library import KernelLibrary
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.device.memory import Arena
from fastlic.runtime.device.passes import TABLES
from fastlic.runtime.engines.device import DeviceEngine, DeviceGraph
from fastlic.runtime.entropy.tables import MixtureTables
from fastlic.runtime.manifest import RATE
from fastlic.runtime.student import Student
from fastlic.runtime.tiles import TileGrid

if TYPE_CHECKING:
    from fastlic.runtime.device.workspace import Workspace

IDLE_WORKSPACES = 4
"""Workspaces kept for later pictures; the one idle for longest goes first."""


class DeviceStudent:
    """Safe to share between threads.

    Args:
        student: of an engine that is a `DeviceEngine`.
        engine: that engine.

    Raises:
        KernelsUnavailable: fastlic was installed without kernels.

    Attributes:
        engine, library: the engine, and the kernels on its device.
        manifest, tile_steps, picture_steps, synthesis_strides, distributions: as the student has them.
        given: names of the tensors that are there from the beginning.
    """

    def __init__(self, student: Student, engine: DeviceEngine) -> None:
        self.engine, self.library = engine, KernelLibrary(engine.device)
        self.manifest, self.distributions = student.manifest, student.distributions
        self.tile_steps, self.picture_steps = student.tile_steps, student.picture_steps
        self.synthesis_strides = student.synthesis_strides
        self.given = (RATE,) if self.manifest.rates else ()
        self._bundle: Bundle = student.bundle
        self._graphs: dict[str, DeviceGraph] = {}
        self._tables: dict[str, list[DeviceArray]] = {}
        self._arena = Arena(engine.device)
        self._lock = threading.RLock()
        self._closed = False
        self._idle: list[Workspace] = []  # the one idle for longest first
        self._lent: set[Workspace] = set()

    def graph(self, name: str) -> DeviceGraph:
        """A graph, loaded when it is first asked for."""
        with self._lock:
            if name not in self._graphs:
                spec = self.manifest.graphs[name]
                self._graphs[name] = self.engine.load_on_device(self._bundle.graph(name), name, spec.repeatable)
            return self._graphs[name]

    def tables_on_device(self, distribution: str) -> list[DeviceArray]:
        """The tables of a mixture, in the order of `passes.TABLES`, uploaded when they are first asked for."""
        with self._lock:
            if distribution not in self._tables:
                mixture = self.distributions[distribution]
                assert isinstance(mixture, MixtureTables)
                self._tables[distribution] = [
                    self._arena.uploaded(np.asarray(getattr(mixture, name))) for name in TABLES
                ]
            return self._tables[distribution]

    def take_workspace(self, grid: TileGrid, rows: bool) -> Workspace:
        """A workspace of one's own for a picture of this grid; to be given back.

        Args:
            grid: of the picture.
            rows: whether kernels prepare passes, which needs the native reader.

        Raises:
            DeviceOutOfMemory: there is not enough memory.
        """
        from fastlic.runtime.device.workspace import Workspace, workspace_key

        key = workspace_key(grid, rows)
        with self._lock:
            for number, space in enumerate(self._idle):
                if space.key == key:
                    self._lent.add(space)
                    return self._idle.pop(number)
        space = Workspace(self, grid, rows)
        with self._lock:
            self._lent.add(space)
        return space

    def give_workspace(self, space: Workspace) -> None:
        """Keep a workspace for later pictures, unless there are to be none. None of its work is under way."""
        with self._lock:
            self._lent.discard(space)
            self._idle.append(space)
            kept = 0 if self._closed else IDLE_WORKSPACES
            surplus = self._idle[: max(0, len(self._idle) - kept)]
            self._idle = self._idle[len(surplus) :]
        for old in surplus:
            old.close()

    @contextmanager
    def guarding(self, space: Workspace) -> Iterator[None]:
        """Give a workspace back when a file is at fault inside; close it when anything else goes wrong."""
        try:
            yield
        except BaseException as error:
            with suppress(DeviceFailure):
                space.synchronize()
            if isinstance(error, BitstreamError | TimedOut | Cancelled):
                self.give_workspace(space)
            else:
                with self._lock:
                    self._lent.discard(space)
                space.close()
            raise

    def drop_idle(self) -> bool:
        """Give the memory of idle workspaces back; whether there were any."""
        with self._lock:
            idle, self._idle = self._idle, []
        for space in idle:
            space.close()
        return bool(idle)

    def close(self) -> None:
        """Release graphs, tables, kernels and workspaces, those in use as soon as they are given back.

        Of those, what is enqueued is waited for: it uses all the others.
        """
        self._closed = True
        self.drop_idle()
        with self._lock:
            for space in self._lent:
                with suppress(DeviceFailure):
                    space.synchronize()
            self._arena.close()
            self._tables.clear()
            self._graphs.clear()
            self.library.close()
