"""One file on its way to a picture, on a device; the counterpart of `fastlic.runtime.decoding`.

Knows the order of work for one file: tiles, the check of their symbols while the device goes on, and the result on the
host or on the device.
Rule: docs/format.md, sections 1 to 3.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import numpy as np

from fastlic.errors import DeviceOutOfMemory, FastlicError
from fastlic.kernels.cuda.arrays import DeviceArray
from fastlic.runtime.decoding import Decoding, active_channels, check_symbols
from fastlic.runtime.device.student import DeviceStudent
from fastlic.runtime.device.workspace import Workspace
from fastlic.runtime.entropy.reader import Backend, open_reader

Result = TypeVar("Result")


class DeviceDecoding(Decoding):
    """One whole picture, parsed; the symbols and then the pixels are made on the device.

    Args and attributes are those of `Decoding`, but there is no region and there are no `latents`.
    """

    _space: Workspace | None = None
    _home: DeviceStudent | None = None  # where the workspace belongs

    def read_symbols(self, backend: Backend, threads: int) -> None:
        """Decode all tiles and begin the synthesis; see `Decoding.read_symbols`.

        Raises:
            DeviceOutOfMemory: this picture does not fit, even without what was kept for others.
            DeviceFailure: the device reports an error.
        """
        try:
            self._read(backend, threads)
        except DeviceOutOfMemory:
            if not self._on_device().drop_idle():
                raise
            self._read(backend, threads)

    def synthesise(self, out: np.ndarray | None = None) -> np.ndarray:
        """Fetch the picture; see `Decoding.synthesise`."""
        picture = np.empty(self.shape, np.uint8) if out is None else out
        self._finish(lambda space: space.download(picture, self._timings))
        return picture

    def synthesise_on_device(self) -> DeviceArray:
        """The picture as a device array that belongs to the caller, uint8 (height, width, 3), complete."""
        return self._finish(lambda space: space.copied_image())

    def _read(self, backend: Backend, threads: int) -> None:
        """Tiles in turn. The symbols of the last one are checked while the device synthesises."""
        student = self._on_device()
        space = student.take_workspace(self.grid, rows=backend == "native")
        with student.guarding(space):
            for number, box, tile in self._tiles:
                reader = open_reader(tile.streams, backend=backend, threads=threads)
                active = active_channels(self._student, tile)
                where = f"tile[{number}]"
                decoded = space.decode_tile(box, reader, active, self._given, where, self._deadline, self._timings)
                if number == self._tiles[-1][0]:
                    space.enqueue_synthesis(self._timings)
                reader.finish()
                check_symbols(self._student, number, tile, decoded.host_symbols())
        self._home, self._space = student, space

    def __del__(self) -> None:
        """A stream of pictures that is left early drops what it has begun."""
        if self._space is not None and not sys.is_finalizing():
            with suppress(FastlicError):
                self._finish(Workspace.synchronize)

    def _on_device(self) -> DeviceStudent:
        student = self._student.on_device()
        assert student is not None, "the engine is a DeviceEngine"
        return student

    def _finish(self, get: Callable[[Workspace], Result]) -> Result:
        """Take the result out of the workspace, which is then free for the next picture."""
        space, self._space, home = self._space, None, self._home
        assert space is not None, "read_symbols comes first"
        assert home is not None
        with home.guarding(space):
            result = get(space)
        home.give_workspace(space)
        return result
