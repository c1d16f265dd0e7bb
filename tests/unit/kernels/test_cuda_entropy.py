"""The integer kernels of a pass, run by the emulator: equal to their twins and to what the coder itself does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import random_passes

from fastlic.errors import EngineUnavailable, LimitExceeded
from fastlic.kernels.cuda import entropy_twins as twins
from fastlic.kernels.cuda import launch
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.prepared import prepare
from fastlic.runtime.entropy.range_coder import SymbolReader
from fastlic.runtime.entropy.tables import MixtureTables
from fastlic.runtime.entropy.writer import StreamWriter

MIXTURES = [("normal",), random_passes.GLLMM]
TABLES = ("exponential", "thresholds", "inverse_scale", "tail", "half_cdf")
Run = Callable[..., None]


@pytest.fixture(scope="module")
def run(emulation: ModuleType) -> Run:
    """Launches by plan; each source is built when it is first asked for."""
    emulators: dict[str, Any] = {}

    def launch_plan(plan: launch.Launch, arguments: list[Any], reverse: bool = False) -> None:
        source = next(source for source, names in launch.KERNELS.items() if plan.kernel in names)
        if source not in emulators:
            path = Path(launch.__file__).parent / f"{source}.cu"
            emulators[source] = emulation.Emulator(path, launch.KERNELS[source])
        emulators[source].launch(plan.kernel, plan.grid, (plan.threads, 1, 1), arguments, reverse)

    return launch_plan


class Decoding:
    """Everything between the parameters of a pass and its place in the latent, by twins or by kernels."""

    def __init__(self, pass_: Pass, capacity: int = 1 << 20) -> None:
        assert isinstance(pass_.distribution, MixtureTables)
        assert pass_.parameters is not None
        self.tables: MixtureTables = pass_.distribution
        self.parameters, self.shape = pass_.parameters, pass_.shape
        self.active = np.ones(self.shape[0], np.uint8) if pass_.active is None else pass_.active.astype(np.uint8)
        families = len(self.tables.families)
        self.plan = launch.mixture_pass(*self.shape, families=families, components=self.tables.components)
        self.kinds, self.modes = np.empty(self.shape, np.uint8), np.empty(self.shape, np.int16)
        self.counts = np.empty((7, self.plan.blocks), np.int32)
        self.offsets, self.starts = np.empty_like(self.counts), np.empty(8, np.int32)
        self.elements = np.full(self.kinds.size, -1, np.int32)
        self.rows = np.zeros(capacity, np.uint16)

    @property
    def _tables(self) -> list[np.ndarray]:
        return [getattr(self.tables, name) for name in TABLES]

    def by_twins(self) -> Decoding:
        threshold = self.tables.skip_threshold
        classified = [self.kinds, self.modes, self.counts]
        twins.mixture_classify(self.parameters, self.active, *self._tables, *self.shape, threshold, *classified)
        twins.scan_counts(self.counts, self.plan.blocks, self.offsets, self.starts)
        placed = [self.kinds, self.offsets, self.starts]
        size = len(self.rows)
        twins.mixture_rows(self.parameters, *self._tables, *placed, *self.shape, size, self.elements, self.rows)
        return self

    def by_kernels(self, run: Run, emulation: ModuleType, reverse: bool = False) -> Decoding:
        out = emulation.Out
        arrays = [self.parameters, self.active, *self._tables]
        outs = [out(self.kinds), out(self.modes), out(self.counts)]
        run(self.plan.classify, [*arrays, *self.shape, self.tables.skip_threshold, *outs], reverse)
        run(self.plan.scan, [self.counts, self.plan.blocks, out(self.offsets), out(self.starts)], reverse)
        arrays = [self.parameters, *self._tables, self.kinds, self.offsets, self.starts]
        outs = [emulation.Changed(self.elements), emulation.Changed(self.rows)]
        run(self.plan.rows, [*arrays, *self.shape, len(self.rows), *outs], reverse)
        return self

    def assert_equal(self, other: Decoding) -> None:
        for name in ("kinds", "modes", "counts", "offsets", "starts", "elements", "rows"):
            np.testing.assert_array_equal(getattr(self, name), getattr(other, name), err_msg=name)


def pass_of(
    rng: np.random.Generator, shape: tuple[int, int, int], families: tuple[str, ...], wild: bool, active: bool = False
) -> Pass:
    """A random pass; with `active`, about a third of its channels are not coded."""
    tables = random_passes.mixture_tables(families)
    channels, height, width = shape
    parameters = random_passes.random_parameters(rng, (height, width, channels), tables, wild)
    return Pass(tables, parameters, shape, rng.random(channels) < 0.7 if active else None)


@pytest.mark.parametrize("families", MIXTURES)
@pytest.mark.parametrize("wild", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (13, 5, 9), (8, 8, 8)])
def test_pass_prepared_by_kernels_equals_twins(
    run: Run, emulation: ModuleType, rng: np.random.Generator, families: tuple, wild: bool, shape: tuple
) -> None:
    pass_ = pass_of(rng, shape, families, wild, active=shape[0] > 1)

    Decoding(pass_).by_kernels(run, emulation).assert_equal(Decoding(pass_).by_twins())


def test_pass_prepared_in_any_order_of_threads_is_the_same(
    run: Run, emulation: ModuleType, rng: np.random.Generator
) -> None:
    pass_ = pass_of(rng, (9, 8, 8), ("normal",), wild=False)

    backward = Decoding(pass_).by_kernels(run, emulation, reverse=True)

    backward.assert_equal(Decoding(pass_).by_kernels(run, emulation))


def test_pass_with_every_channel_inactive_codes_nothing(
    run: Run, emulation: ModuleType, rng: np.random.Generator
) -> None:
    pass_ = pass_of(rng, (3, 4, 4), ("normal",), wild=False)
    pass_.active = np.zeros(3, np.bool_)

    done = Decoding(pass_).by_kernels(run, emulation)

    assert done.starts[-1] == 0
    assert (done.elements == -1).all()
    assert not done.modes.any()


def test_million_entries_of_rows_equal_the_reference(run: Run, emulation: ModuleType, rng: np.random.Generator) -> None:
    pass_ = pass_of(rng, (32, 16, 16), random_passes.GLLMM, wild=False)
    done = Decoding(pass_, 1 << 22).by_kernels(run, emulation)

    done.assert_equal(Decoding(pass_, 1 << 22).by_twins())

    entries = (np.diff(done.starts) * 8 * 2 ** np.arange(7)).sum()
    assert entries > 1_000_000
    assert (np.diff(done.starts) > 0).sum() >= 4  # window classes that occur


def test_rows_beyond_the_capacity_are_left_out_and_the_rest_is_whole(
    run: Run, emulation: ModuleType, rng: np.random.Generator
) -> None:
    pass_ = pass_of(rng, (6, 5, 9), ("normal",), wild=True)
    whole = Decoding(pass_).by_twins()
    capacity = 1000
    assert (np.diff(whole.starts) * 8 * 2 ** np.arange(7)).sum() > capacity

    cut = Decoding(pass_, capacity).by_kernels(run, emulation)

    cut.assert_equal(Decoding(pass_, capacity).by_twins())
    np.testing.assert_array_equal(cut.elements, whole.elements)


@pytest.mark.parametrize("families", MIXTURES)
def test_order_and_rows_are_those_of_the_coder(
    run: Run, emulation: ModuleType, rng: np.random.Generator, families: tuple
) -> None:
    pass_ = pass_of(rng, (11, 6, 7), families, wild=False, active=True)
    expected = prepare(pass_)

    done = Decoding(pass_).by_kernels(run, emulation)

    count = len(expected.index)
    assert done.starts[-1] == count
    np.testing.assert_array_equal(done.elements[:count], expected.index)
    at = 0
    for i, width in enumerate(expected.width):
        row = done.rows[at : at + width].astype(np.int64)
        slots = np.arange(1, width)[None]
        np.testing.assert_array_equal(row[1:], expected.cdf(slice(i, i + 1), slots)[0])
        assert row[:1].astype(np.uint16).view(np.int16)[0] == expected.low[i]
        at += width


@pytest.mark.parametrize("parity", [twins.EVEN, twins.ODD])
def test_stream_decoded_from_rows_and_scattered_gives_the_latent(
    run: Run, emulation: ModuleType, rng: np.random.Generator, parity: int
) -> None:
    """The whole hand-over: kernels make rows, a range decoder sees nothing else, kernels place its symbols."""
    channels, height, width = 10, 7, 6
    pass_ = pass_of(rng, (channels, height, width), ("normal",), wild=False, active=True)
    writer = StreamWriter()
    seen = writer.code(pass_, random_passes.random_values(rng, pass_.shape, extreme=0.02))
    data = writer.finish(1)
    y = rng.integers(-9, 9, (channels + 3, height, 2 * width), np.int16)
    expected = y.copy()
    rows, columns = twins.latent_places(height, width, parity)
    expected[2 : 2 + channels, rows, columns] = seen

    done = Decoding(pass_).by_kernels(run, emulation)
    symbols = decoded(done, data[0])
    outputs = [done.kinds, done.modes, done.elements, done.starts, symbols]
    run(done.plan.scatter, [*outputs, *done.shape, parity, 2, emulation.Changed(y)])

    np.testing.assert_array_equal(y, expected)


def decoded(done: Decoding, data: bytes) -> np.ndarray:
    """Values of the coded elements, int16, from one stream and rows alone."""
    reader = SymbolReader(data)
    widths = np.repeat(8 << np.arange(7), np.diff(done.starts))
    starts = np.concatenate([[0], np.cumsum(widths)])
    rows = [done.rows[start : start + width] for start, width in zip(starts, widths, strict=False)]
    slots = [int(reader.read(np.concatenate([[0], row[1:], [65536]])[None].astype(np.int64))[0]) for row in rows]
    values = []
    for row, slot in zip(rows, slots, strict=True):
        value = int(row[:1].view(np.int16)[0]) + slot
        if slot == 0:
            value -= reader.read_excess()
        elif slot == len(row) - 1:
            value += reader.read_excess()
        values.append(value)
    reader.finish()
    return np.array(values, np.int16)


@pytest.mark.parametrize("parity", [twins.ALL, twins.EVEN, twins.ODD])
def test_scatter_equals_twin(run: Run, emulation: ModuleType, rng: np.random.Generator, parity: int) -> None:
    done = Decoding(pass_of(rng, (5, 7, 9), ("normal",), wild=False, active=True)).by_twins()
    symbols = rng.integers(-99, 99, done.starts[-1]).astype(np.int16)
    y = rng.integers(-9, 9, (8, 7, 9 if parity == twins.ALL else 18), np.int16)
    expected = y.copy()
    arguments = [done.kinds, done.modes, done.elements, done.starts, symbols, *done.shape, parity, 3]

    run(done.plan.scatter, [*arguments, emulation.Changed(y)])
    twins.scatter_symbols(*arguments, expected)

    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("blocks", [1, 5, 293])
def test_scan_equals_twin_over_several_rounds(
    run: Run, emulation: ModuleType, rng: np.random.Generator, blocks: int
) -> None:
    counts = rng.integers(0, 257, (7, blocks)).astype(np.int32)
    offsets, starts = np.empty_like(counts), np.empty(8, np.int32)
    expected, expected_starts = np.empty_like(counts), np.empty(8, np.int32)

    run(launch.Launch("scan_counts", (1, 1, 1), 1024), [counts, blocks, emulation.Out(offsets), emulation.Out(starts)])
    twins.scan_counts(counts, blocks, expected, expected_starts)

    np.testing.assert_array_equal(offsets, expected)
    np.testing.assert_array_equal(starts, expected_starts)
    assert starts[-1] == counts.sum()


@pytest.mark.parametrize("parity", [twins.EVEN, twins.ODD])
@pytest.mark.parametrize("shape", [(1, 1, 1), (35, 6, 33), (32, 3, 32)])
def test_context_gather_equals_twin(
    run: Run, emulation: ModuleType, rng: np.random.Generator, shape: tuple[int, int, int], parity: int
) -> None:
    channels, height, width = shape
    y = rng.integers(-16383, 16384, (channels, height, 2 * width), np.int16)
    taps, expected = (np.empty((height, width, 12, channels), np.int16) for _ in range(2))
    arguments = [y, *shape, parity]

    run(launch.context_gather(*shape), [*arguments, emulation.Out(taps)])
    twins.context_gather(*arguments, expected)

    np.testing.assert_array_equal(taps, expected)


def test_context_gather_twin_times_weights_is_the_masked_convolution(rng: np.random.Generator) -> None:
    y = rng.integers(-50, 51, (3, 6, 8)).astype(np.int16)
    y[:, (np.arange(6)[:, None] + np.arange(8)) % 2 == 1] = 0  # only anchors are there
    weight = rng.integers(-9, 10, (5, 5, 3))  # not masked: the other 13 places see only zeros
    taps = np.empty((6, 4, 12, 3), np.int16)
    twins.context_gather(y, 3, 6, 4, twins.ODD, taps)
    rows, columns = twins.latent_places(6, 4, twins.ODD)
    padded = np.pad(y.astype(np.int64), ((0, 0), (2, 2), (2, 2)))
    expected = sum(
        (padded[:, rows + r, columns + c] * weight[r, c][:, None, None]).sum(axis=0) for r in range(5) for c in range(5)
    )
    alive = np.array([weight[r, c] for r in range(5) for c in range(5) if (r + c) % 2])

    np.testing.assert_array_equal((taps.astype(np.int64) * alive).sum(axis=(2, 3)), expected)


@pytest.mark.parametrize(("families", "components"), [(2, 3), (3, 5), (1, 1)])
def test_launch_mixture_without_a_kernel_is_refused(families: int, components: int) -> None:
    with pytest.raises(EngineUnavailable, match=f"{families} families with {components} components"):
        launch.mixture_pass(8, 4, 4, families=families, components=components)


@pytest.mark.parametrize("shape", [(0, 4, 4), (1 << 12, 1 << 12, 1 << 7)])
def test_launch_pass_too_large_or_empty_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(LimitExceeded, match="elements"):
        launch.mixture_pass(*shape, families=1, components=3)


def test_launch_context_of_too_many_rows_is_refused() -> None:
    with pytest.raises(LimitExceeded, match="65536 rows"):
        launch.context_gather(8, 65536, 4)
