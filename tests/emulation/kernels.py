"""Launch the shipped kernels by plan, and decode a mixture pass with them.

Knows which source a kernel is in and what passes between the kernels of a pass; tests ask for the fixture `run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from emulation.emulator import Argument, Changed, Emulator, Out

from fastlic.kernels.cuda import entropy_twins as twins
from fastlic.kernels.cuda import launch
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.range_coder import SymbolReader
from fastlic.runtime.entropy.tables import WINDOWS, MixtureTables

CUDA = Path(launch.__file__).parent
TABLES = ("exponential", "thresholds", "inverse_scale", "tail", "half_cdf")


class Kernels:
    """All shipped kernels; each source is built when it is first asked for."""

    def __init__(self) -> None:
        self._emulators: dict[str, Emulator] = {}

    def __call__(self, plan: launch.Launch, arguments: Sequence[Argument], reverse: bool = False) -> None:
        """Run one launch; see `Emulator.launch`."""
        source = next(source for source, names in launch.KERNELS.items() if plan.kernel in names)
        if source not in self._emulators:
            self._emulators[source] = Emulator(CUDA / f"{source}.cu", launch.KERNELS[source])
        self._emulators[source].launch(plan.kernel, plan.grid, (plan.threads, 1, 1), arguments, reverse)


class Decoding:
    """Everything between the parameters of a mixture pass and its elements, by twins or by kernels.

    Args:
        pass_: of a mixture.
        capacity: entries of `rows`.
    """

    def __init__(self, pass_: Pass, capacity: int = 1 << 20) -> None:
        assert isinstance(pass_.distribution, MixtureTables)
        assert pass_.parameters is not None
        self.mixture: MixtureTables = pass_.distribution
        self.tables = [getattr(self.mixture, name) for name in TABLES]
        self.parameters, self.shape = pass_.parameters, pass_.shape
        self.active = np.ones(self.shape[0], np.uint8) if pass_.active is None else pass_.active.astype(np.uint8)
        families = len(self.mixture.families)
        self.plan = launch.mixture_pass(*self.shape, families=families, components=self.mixture.components)
        self.kinds, self.modes = np.empty(self.shape, np.uint8), np.empty(self.shape, np.int16)
        self.counts = np.empty((7, self.plan.blocks), np.int32)
        self.offsets, self.starts = np.empty_like(self.counts), np.empty(8, np.int32)
        self.elements = np.full(self.kinds.size, -1, np.int32)
        self.rows = np.zeros(capacity, np.uint16)

    def by_twins(self) -> Decoding:
        """Fill all arrays with the twins."""
        threshold, capacity = self.mixture.skip_threshold, len(self.rows)
        classified = [self.kinds, self.modes, self.counts]
        twins.mixture_classify(self.parameters, self.active, *self.tables, *self.shape, threshold, *classified)
        twins.scan_counts(self.counts, self.plan.blocks, self.offsets, self.starts)
        placed = [self.kinds, self.offsets, self.starts]
        twins.mixture_rows(self.parameters, *self.tables, *placed, *self.shape, capacity, self.elements, self.rows)
        return self

    def by_kernels(self, run: Kernels, reverse: bool = False) -> Decoding:
        """Fill all arrays with the kernels."""
        arrays = [self.parameters, self.active, *self.tables]
        outs = [Out(self.kinds), Out(self.modes), Out(self.counts)]
        run(self.plan.classify, [*arrays, *self.shape, self.mixture.skip_threshold, *outs], reverse)
        run(self.plan.scan, [self.counts, self.plan.blocks, Out(self.offsets), Out(self.starts)], reverse)
        arrays = [self.parameters, *self.tables, self.kinds, self.offsets, self.starts]
        outs = [Changed(self.elements), Changed(self.rows)]
        run(self.plan.rows, [*arrays, *self.shape, len(self.rows), *outs], reverse)
        return self

    def scatter(self, run: Kernels, symbols: np.ndarray, parity: int, first_channel: int, y: np.ndarray) -> None:
        """Place symbols, int16 in coding order, and modes in the latent y by kernel."""
        arrays = [self.kinds, self.modes, self.elements, self.starts, symbols]
        run(self.plan.scatter, [*arrays, *self.shape, parity, first_channel, Changed(y)])

    def assert_equal(self, other: Decoding) -> None:
        """Compare all arrays bit by bit."""
        for name in ("kinds", "modes", "counts", "offsets", "starts", "elements", "rows"):
            np.testing.assert_array_equal(getattr(self, name), getattr(other, name), err_msg=name)

    def classes(self) -> list[tuple[int, np.ndarray]]:
        """Of each window class its first coded element, and its rows: int64, C(0) to C(W), then low."""
        found, end = [], 0
        for window, width in enumerate(WINDOWS):
            first, count = int(self.starts[window]), int(self.starts[window + 1] - self.starts[window])
            block = self.rows[end : end + count * width].reshape(count, width)
            end += count * width
            low = block[:, 0].view(np.int16).astype(np.int64)
            zero, one = np.zeros(count, np.int64), np.full(count, 1 << 16)
            found.append((first, np.column_stack([zero, block[:, 1:].astype(np.int64), one, low])))
        return found

    def symbols(self, reader: SymbolReader, first: int, last: int) -> np.ndarray:
        """What one stream says of coded elements [first, last), from rows alone: int16."""
        values = np.zeros(last - first, np.int64)
        outer: dict[int, int] = {}  # index -> sign of its excess
        for start, rows in self.classes():
            mine = slice(max(first - start, 0), max(0, min(last - start, len(rows))))
            if mine.start >= mine.stop:
                continue
            width = rows.shape[1] - 2
            slots = reader.read(rows[mine, :-1])
            at = start + mine.start - first
            values[at : at + len(slots)] = rows[mine, -1] + slots
            outer |= {
                at + int(i): -1 if slots[i] == 0 else 1 for i in np.flatnonzero((slots == 0) | (slots == width - 1))
            }
        for at, sign in outer.items():
            values[at] += sign * reader.read_excess()
        return values.astype(np.int16)
