"""The integer kernels of a pass, run by the emulator: equal to their twins and to what the coder itself does."""

from __future__ import annotations

import numpy as np
import pytest
import random_passes
from emulation.emulator import Out
from emulation.kernels import Decoding, Kernels

from fastlic.errors import CorruptedStream, EngineUnavailable, LimitExceeded
from fastlic.kernels import native
from fastlic.kernels.cuda import entropy_twins as twins
from fastlic.kernels.cuda import launch
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.prepared import prepare
from fastlic.runtime.entropy.range_coder import SymbolReader
from fastlic.runtime.entropy.reader import NativeReader
from fastlic.runtime.entropy.writer import StreamWriter

MIXTURES = [("normal",), random_passes.GLLMM]


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
    run: Kernels, rng: np.random.Generator, families: tuple, wild: bool, shape: tuple
) -> None:
    pass_ = pass_of(rng, shape, families, wild, active=shape[0] > 1)

    Decoding(pass_).by_kernels(run).assert_equal(Decoding(pass_).by_twins())


def test_pass_prepared_in_any_order_of_threads_is_the_same(run: Kernels, rng: np.random.Generator) -> None:
    pass_ = pass_of(rng, (9, 8, 8), ("normal",), wild=False)

    backward = Decoding(pass_).by_kernels(run, reverse=True)

    backward.assert_equal(Decoding(pass_).by_kernels(run))


def test_pass_with_every_channel_inactive_codes_nothing(run: Kernels, rng: np.random.Generator) -> None:
    pass_ = pass_of(rng, (3, 4, 4), ("normal",), wild=False)
    pass_.active = np.zeros(3, np.bool_)

    done = Decoding(pass_).by_kernels(run)

    assert done.starts[-1] == 0
    assert (done.elements == -1).all()
    assert not done.modes.any()


def test_million_entries_of_rows_equal_the_reference(run: Kernels, rng: np.random.Generator) -> None:
    pass_ = pass_of(rng, (32, 16, 16), random_passes.GLLMM, wild=False)
    done = Decoding(pass_, 1 << 22).by_kernels(run)

    done.assert_equal(Decoding(pass_, 1 << 22).by_twins())

    entries = (np.diff(done.starts) * 8 * 2 ** np.arange(7)).sum()
    assert entries > 1_000_000
    assert (np.diff(done.starts) > 0).sum() >= 4  # window classes that occur


def test_rows_beyond_the_capacity_are_left_out_and_the_rest_is_whole(run: Kernels, rng: np.random.Generator) -> None:
    pass_ = pass_of(rng, (6, 5, 9), ("normal",), wild=True)
    whole = Decoding(pass_).by_twins()
    capacity = 1000
    assert (np.diff(whole.starts) * 8 * 2 ** np.arange(7)).sum() > capacity

    cut = Decoding(pass_, capacity).by_kernels(run)

    cut.assert_equal(Decoding(pass_, capacity).by_twins())
    np.testing.assert_array_equal(cut.elements, whole.elements)


@pytest.mark.parametrize("families", MIXTURES)
def test_order_and_rows_are_those_of_the_coder(run: Kernels, rng: np.random.Generator, families: tuple) -> None:
    pass_ = pass_of(rng, (11, 6, 7), families, wild=False, active=True)
    expected = prepare(pass_)

    done = Decoding(pass_).by_kernels(run)

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
    run: Kernels, rng: np.random.Generator, parity: int
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

    done = Decoding(pass_).by_kernels(run)
    reader = SymbolReader(data[0])
    symbols = done.symbols(reader, 0, int(done.starts[-1]))
    reader.finish()
    done.scatter(run, symbols, parity, 2, y)

    np.testing.assert_array_equal(y, expected)


@pytest.mark.skipif(not native.available(), reason="the native module was not built")
@pytest.mark.parametrize(("streams", "threads"), [(1, 1), (5, 2), (7, 3)])
@pytest.mark.parametrize("families", MIXTURES)
def test_native_reader_of_rows_gives_what_the_writer_saw(
    rng: np.random.Generator, families: tuple, streams: int, threads: int
) -> None:
    passes = [pass_of(rng, (7, 6, 5), families, wild) for wild in (False, True)]
    writer = StreamWriter()
    seen = [writer.code(pass_, random_passes.random_values(rng, pass_.shape, 0.1)) for pass_ in passes]
    reader = NativeReader(writer.finish(streams), threads)

    for pass_, values in zip(passes, seen, strict=True):
        done = Decoding(pass_).by_twins()
        symbols = reader.code_rows(done.rows, done.starts)
        np.testing.assert_array_equal(symbols, values.reshape(-1)[done.elements[: done.starts[-1]]])
    reader.finish()


@pytest.mark.skipif(not native.available(), reason="the native module was not built")
def test_native_reader_of_any_rows_and_words_ends_in_symbols_or_an_error(rng: np.random.Generator) -> None:
    refused = 0
    for _ in range(300):
        counts = rng.integers(0, 9, 7)
        starts = np.concatenate([[0], counts.cumsum()]).astype(np.int32)
        rows = rng.integers(0, 1 << 16, (counts * 8 * 2 ** np.arange(7)).sum(), np.uint16)
        reader = NativeReader([rng.bytes(4 * int(rng.integers(0, 40))) for _ in range(3)], 2)
        try:
            assert reader.code_rows(rows, starts).shape == (starts[-1],)
        except CorruptedStream:
            refused += 1
    assert refused > 100


@pytest.mark.skipif(not native.available(), reason="the native module was not built")
@pytest.mark.parametrize(
    "starts",
    [[0, 2, 2, 2, 2, 2, 2, 2], [0, 0, 1, 1, 1, 1, 1, 1], [1] * 8, [0, 1, 0, 1, 1, 1, 1, 1], [-1] * 8, [0] * 7 + [-1]],
)
def test_native_reader_of_rows_that_are_not_there_is_refused(starts: list[int]) -> None:
    reader = NativeReader([b"12345678"], 1)

    with pytest.raises(ValueError, match=r"rows|starts"):
        reader.code_rows(np.arange(8, dtype=np.uint16), np.array(starts, np.int32))


@pytest.mark.parametrize("parity", [twins.ALL, twins.EVEN, twins.ODD])
def test_scatter_equals_twin(run: Kernels, rng: np.random.Generator, parity: int) -> None:
    done = Decoding(pass_of(rng, (5, 7, 9), ("normal",), wild=False, active=True)).by_twins()
    symbols = rng.integers(-99, 99, done.starts[-1]).astype(np.int16)
    y = rng.integers(-9, 9, (8, 7, 9 if parity == twins.ALL else 18), np.int16)
    expected = y.copy()
    arguments = [done.kinds, done.modes, done.elements, done.starts, symbols, *done.shape, parity, 3]

    done.scatter(run, symbols, parity, 3, y)
    twins.scatter_symbols(*arguments, expected)

    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("blocks", [1, 5, 293])
def test_scan_equals_twin_over_several_rounds(run: Kernels, rng: np.random.Generator, blocks: int) -> None:
    counts = rng.integers(0, 257, (7, blocks)).astype(np.int32)
    offsets, starts = np.empty_like(counts), np.empty(8, np.int32)
    expected, expected_starts = np.empty_like(counts), np.empty(8, np.int32)

    run(launch.Launch("scan_counts", (1, 1, 1), 1024), [counts, blocks, Out(offsets), Out(starts)])
    twins.scan_counts(counts, blocks, expected, expected_starts)

    np.testing.assert_array_equal(offsets, expected)
    np.testing.assert_array_equal(starts, expected_starts)
    assert starts[-1] == counts.sum()


@pytest.mark.parametrize("parity", [twins.EVEN, twins.ODD])
@pytest.mark.parametrize("shape", [(1, 1, 1), (35, 6, 33), (32, 3, 32)])
def test_context_gather_equals_twin(
    run: Kernels, rng: np.random.Generator, shape: tuple[int, int, int], parity: int
) -> None:
    channels, height, width = shape
    y = rng.integers(-16383, 16384, (channels, height, 2 * width), np.int16)
    taps, expected = (np.empty((height, width, 12, channels), np.int16) for _ in range(2))
    arguments = [y, *shape, parity]

    run(launch.context_gather(*shape), [*arguments, Out(taps)])
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
