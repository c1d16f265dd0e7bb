"""One pass of a tile on the device: what the range decoder needs goes to the host, its symbols come back.

Two kinds. `RowsPass`: kernels sort out the elements of a mixture and hand over a row of frequencies for each coded one.
`HostPass`: the CPU prepares the pass itself, from what the device knows of it: tables, and mixtures for which there is
no kernel. Rule: docs/format.md, section 3; docs/kernels.md, "A mixture pass".
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from fastlic.errors import BundleError
from fastlic.kernels.cuda import launch
from fastlic.kernels.cuda.addresses import Addressed
from fastlic.kernels.cuda.arrays import DeviceArray
from fastlic.kernels.cuda.driver import Stream
from fastlic.kernels.cuda.library import KernelLibrary
from fastlic.runtime.device.memory import Arena, PinnedArray
from fastlic.runtime.device.work import Work
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.reader import NativeReader, StreamReader
from fastlic.runtime.entropy.tables import WINDOWS, Distribution, MixtureTables
from fastlic.runtime.manifest import Code

PARITIES = {"all": 0, "even": 1, "odd": 2}
NOT_CODED = len(WINDOWS)  # kind of an element whose value is its mode
ENTRIES_PER_ELEMENT = 32
"""Room for rows at first. The shipped student needs 12 to 25 entries per coded element; more is added when needed."""
TABLES = ("exponential", "thresholds", "inverse_scale", "tail", "half_cdf")


class Site(NamedTuple):
    """Where a pass is worked on: whose memory, which kernels, on which stream."""

    arena: Arena
    library: KernelLibrary
    stream: Stream


class Place:
    """Where a pass belongs: its latent on the device, and its packed shape.

    Attributes:
        step: of the schedule.
        latent: int16 (C, h, w).
        shape: (C', h, w'), packed.
    """

    def __init__(self, step: Code, latent: DeviceArray) -> None:
        self.step, self.latent = step, latent
        first, end = step.channels
        _, height, width = latent.shape
        self.shape = (end - first, height, width if step.parity == "all" else width // 2)

    @property
    def name(self) -> str:
        """For stages and messages."""
        return f"{self.step.latent} {self.step.parity}"

    @property
    def size(self) -> int:
        """Elements."""
        return int(np.prod(self.shape))

    def check_parameters(self, parameters: DeviceArray, numbers: tuple[int, ...]) -> None:
        """Raise `BundleError` unless a graph's parameters are int16 (h, w', C', *numbers)."""
        channels, height, width = self.shape
        if parameters.dtype != np.int16 or parameters.shape != (height, width, channels, *numbers):
            raise BundleError(
                f"code {self.name}: parameters are {parameters.spec}, int16 {(height, width, channels, *numbers)} is "
                "expected. Export the bundle again."
            )


class HandOver:
    """Pinned memory through which passes exchange rows and symbols with the host, one pass after the other.

    Args:
        arena: of the tile.
        size: elements of the largest pass.

    Attributes:
        rows: uint16, as mixture_rows.cu leaves them.
        starts: int32 (8), likewise.
        symbols: int16, in coding order.
        moves: how often `rows` got another address. What was captured before a move must be forgotten.
    """

    def __init__(self, arena: Arena, size: int) -> None:
        self._arena = arena
        self.rows = arena.pinned(np.uint16, ENTRIES_PER_ELEMENT * size)
        self.starts = arena.pinned(np.int32, 8)
        self.symbols = arena.pinned(np.int16, size)
        self.moves = 0

    def grow(self, entries: int) -> None:
        """Make room for so many entries of rows, which are then undefined."""
        self.rows = self._arena.pinned(np.uint16, entries)
        self.moves += 1


class DevicePass(Protocol):
    """A pass in three moves: work of the device, reading by the host, work of the device."""

    place: Place
    waits: bool
    """Whether `read` needs what the work before it did."""

    def prepare(self, work: Work) -> None:
        """Append what hands the pass over to the host."""

    def read(self, reader: StreamReader, active: np.ndarray | None) -> None:
        """Read the pass from the streams. What `prepare` appended is done, if `waits`."""

    def scatter(self, work: Work) -> None:
        """Append what brings the symbols into the latent."""


class RowsPass:
    """A mixture pass prepared by kernels.

    Args:
        place: of the pass.
        tables: of the mixture, on the device, in the order of `TABLES`.
        mixture: the same.
        parameters: int16 (h, w', C', P).
        active: uint8 (C'), 0 for channels that are not coded.
        site: where it is worked on.
        hand_over: to the host and back.
    """

    waits = True

    def __init__(
        self,
        place: Place,
        mixture: MixtureTables,
        tables: list[DeviceArray],
        parameters: DeviceArray,
        active: DeviceArray,
        site: Site,
        hand_over: HandOver,
    ) -> None:
        place.check_parameters(parameters, (mixture.parameter_count,))
        self.place = place
        self._mixture, self._tables, self._parameters, self._active = mixture, tables, parameters, active
        arena, self._library, self._stream = site
        self._hand_over = hand_over
        self._plan = launch.mixture_pass(*place.shape, families=len(mixture.families), components=mixture.components)
        blocks = self._plan.blocks
        self._kinds, self._modes = arena.array(np.uint8, *place.shape), arena.array(np.int16, *place.shape)
        self._counts, self._offsets = arena.array(np.int32, 7, blocks), arena.array(np.int32, 7, blocks)
        self._starts, self._elements = arena.array(np.int32, 8), arena.array(np.int32, place.size)

    def prepare(self, work: Work) -> None:
        """See `DevicePass`."""
        work.add(f"rows {self.place.name}", self._classify)
        work.add(f"rows {self.place.name}", self._fill_rows)
        counts = self._hand_over.starts.host
        work.add(f"hand-over {self.place.name}", lambda: self._starts.download(counts, self._stream))

    def read(self, reader: StreamReader, active: np.ndarray | None) -> None:
        """See `DevicePass`."""
        assert isinstance(reader, NativeReader)
        rows, starts = self._hand_over.rows.host, self._hand_over.starts.host
        entries = int(np.diff(starts) @ np.array(WINDOWS))
        if entries > len(rows):
            self._hand_over.grow(entries + entries // 4)
            self._fill_rows()
            self._stream.synchronize()
            rows = self._hand_over.rows.host
        symbols = reader.code_rows(rows, starts)
        self._hand_over.symbols.host[: len(symbols)] = symbols

    def scatter(self, work: Work) -> None:
        """See `DevicePass`."""
        work.add(f"place {self.place.name}", self._scatter)

    def _classify(self) -> None:
        plan, stream, shape = self._plan, self._stream, self.place.shape
        inputs: list[Addressed | int] = [self._parameters, self._active, *self._tables]
        outputs = [self._kinds, self._modes, self._counts]
        self._library.launch(plan.classify, [*inputs, *shape, self._mixture.skip_threshold, *outputs], stream)
        self._library.launch(plan.scan, [self._counts, plan.blocks, self._offsets, self._starts], stream)

    def _fill_rows(self) -> None:
        rows = self._hand_over.rows
        inputs = [self._parameters, *self._tables, self._kinds, self._offsets, self._starts]
        arguments: list[Addressed | int] = [*inputs, *self.place.shape, len(rows.host), self._elements, rows]
        self._library.launch(self._plan.rows, arguments, self._stream)

    def _scatter(self) -> None:
        step = self.place.step
        inputs: list[Addressed] = [self._kinds, self._modes, self._elements, self._starts, self._hand_over.symbols]
        numbers = [*self.place.shape, PARITIES[step.parity], step.channels[0]]
        self._library.launch(self._plan.scatter, [*inputs, *numbers, self.place.latent], self._stream)


class HostPass:
    """A pass that the CPU prepares. Its values are placed as modes of elements none of which is coded.

    Args:
        place: of the pass.
        distribution: its tables.
        parameters: what a graph chose for each element; None: a row per channel.
        site: where it is worked on.
    """

    def __init__(
        self,
        place: Place,
        distribution: Distribution,
        parameters: DeviceArray | None,
        site: Site,
    ) -> None:
        self.place, self.waits = place, parameters is not None
        self._distribution, self._parameters = distribution, parameters
        arena, self._library, self._stream = site
        self._handed: PinnedArray | None = None
        if parameters is not None:
            numbers = (distribution.parameter_count,) if isinstance(distribution, MixtureTables) else ()
            place.check_parameters(parameters, numbers)
            self._handed = arena.pinned(parameters.dtype, *parameters.shape)
        self._values, self._modes = arena.pinned(np.int16, *place.shape), arena.array(np.int16, *place.shape)
        self._kinds = arena.uploaded(np.full(place.shape, NOT_CODED, np.uint8))
        self._nothing = arena.uploaded(np.zeros(8, np.int32))

    def prepare(self, work: Work) -> None:
        """See `DevicePass`."""
        parameters, handed = self._parameters, self._handed
        if parameters is not None and handed is not None:
            work.add(f"parameters {self.place.name}", lambda: parameters.download(handed.host, self._stream))

    def read(self, reader: StreamReader, active: np.ndarray | None) -> None:
        """See `DevicePass`."""
        parameters = None if self._handed is None else self._handed.host
        self._values.host[...] = reader.code(Pass(self._distribution, parameters, self.place.shape, active))

    def scatter(self, work: Work) -> None:
        """See `DevicePass`."""
        work.add(f"place {self.place.name}", self._scatter)

    def _scatter(self) -> None:
        step = self.place.step
        self._modes.upload(self._values.host, self._stream)
        plan = launch.scatter_symbols(self.place.size)
        nothing = self._nothing
        inputs = [self._kinds, self._modes, nothing, nothing, nothing]
        numbers = [*self.place.shape, PARITIES[step.parity], step.channels[0]]
        self._library.launch(plan, [*inputs, *numbers, self.place.latent], self._stream)
