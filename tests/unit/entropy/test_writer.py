"""The writer: bytes, what it says a reader will see, and its estimate of bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlic.runtime.entropy.passes import Pass, share
from fastlic.runtime.entropy.tables import MixtureTables
from fastlic.runtime.entropy.writer import StreamWriter

PassOf = Callable[[int], tuple[Pass, np.ndarray]]
WORDS = [
    [0x62F7CB19, 0x151598D9, 0x3B2E0495],
    [0x64C84041, 0xF845EF6F, 0xB345173B],
]


@pytest.mark.usefixtures("built")
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3), st.integers(1, 64))
@settings(max_examples=100, deadline=None)
def test_finish_native_and_numpy_intervals_give_the_same_bytes(pass_of: PassOf, seeds: list[int], streams: int) -> None:
    writers = [StreamWriter(use_native=use_native) for use_native in (True, False)]
    for pass_, values in map(pass_of, seeds):
        seen = [writer.code(pass_, values) for writer in writers]
        np.testing.assert_array_equal(seen[0], seen[1])

    assert writers[0].finish(streams) == writers[1].finish(streams)


def test_code_inactive_channels_become_zero_and_cost_nothing(tables_of: Callable) -> None:
    tables = tables_of(("normal",), 3)
    writer = StreamWriter()
    pass_ = Pass(tables, np.zeros((4, 4, 2, 9), np.int16), (2, 4, 4), np.zeros(2, np.bool_))

    seen = writer.code(pass_, np.full((2, 4, 4), 7, np.int16))

    assert not seen.any()
    assert writer.bits() == 0
    assert writer.finish() == [b""]


def test_code_certain_elements_are_substituted_and_cost_nothing(tables_of: Callable) -> None:
    tables = tables_of(("normal",), 1)
    parameters = np.broadcast_to(np.array([0, 5 * 32, -2000], np.int16), (4, 4, 2, 3))
    writer = StreamWriter()

    seen = writer.code(Pass(tables, parameters, (2, 4, 4)), np.full((2, 4, 4), 7, np.int16))

    assert (seen == 5).all()
    assert writer.finish() == [b""]


def test_code_threshold_of_everything_skips_nothing(tables_of: Callable) -> None:
    tables = tables_of(("normal",), 1, skip_threshold=65536)
    parameters = np.broadcast_to(np.array([0, 5 * 32, -2000], np.int16), (4, 4, 2, 3))
    values = np.full((2, 4, 4), 7, np.int16)
    writer = StreamWriter()

    np.testing.assert_array_equal(writer.code(Pass(tables, parameters, (2, 4, 4)), values), values)
    assert writer.bits() > 32 * 15


def test_code_values_beyond_the_range_are_clamped(tables_of: Callable) -> None:
    tables = tables_of(("normal",), 1)
    values = np.array([[[-32768, 32767]]], np.int16)

    seen = StreamWriter().code(Pass(tables, np.zeros((1, 2, 1, 3), np.int16), (1, 1, 2)), values)

    assert seen.tolist() == [[[-16383, 16383]]]


@pytest.mark.parametrize("values", [np.zeros((2, 4, 4), np.int32), np.zeros((2, 4, 3), np.int16)])
def test_code_values_of_other_type_or_shape_raise(tables_of: Callable, values: np.ndarray) -> None:
    pass_ = Pass(tables_of(("normal",), 1), np.zeros((4, 4, 2, 3), np.int16), (2, 4, 4))

    with pytest.raises(ValueError, match="values"):
        StreamWriter().code(pass_, values)


def test_bits_many_passes_are_the_size_of_the_streams(pass_of: PassOf) -> None:
    writer = StreamWriter()
    for seed in range(40):
        writer.code(*pass_of(seed))

    (stream,) = writer.finish(1)

    assert writer.bits() == pytest.approx(sum(writer.pass_bits()))
    assert writer.bits() > 10_000
    assert abs(8 * len(stream) - writer.bits()) < 80


def test_finish_streams_are_about_ten_kilobytes(
    tables_of: Callable, parameters_of: Callable, rng: np.random.Generator
) -> None:
    tables = tables_of(("normal",), 3)
    parameters = parameters_of(rng, (32, 32, 64), tables, False)
    writer = StreamWriter()
    writer.code(Pass(tables, parameters, (64, 32, 32)), rng.integers(-99, 99, (64, 32, 32)).astype(np.int16))

    streams = writer.finish()

    assert len(streams) > 3
    assert 8_000 < np.mean([len(stream) for stream in streams]) < 13_000


@pytest.mark.parametrize("count", [0, 65, -1])
def test_finish_stream_count_out_of_range_raises(count: int) -> None:
    with pytest.raises(ValueError, match="stream_count"):
        StreamWriter().finish(count)


@given(st.integers(0, 10_000), st.integers(1, 64))
def test_share_of_all_streams_is_every_element_once(count: int, streams: int) -> None:
    shares = [share(count, s, streams) for s in range(streams)]

    assert [n for part in shares for n in range(part.start, part.stop)] == list(range(count))


def fixed_pass() -> tuple[Pass, np.ndarray]:
    """A pass of 24 elements made without floating point, one of them an escape."""
    step = np.arange(513)
    half_cdf = [np.append(np.minimum(32767, 32768 * step // (step + 8 * f + 40)), 0) for f in range(3)]
    for table in half_cdf:
        table[-1] = table[-2]
    level = np.arange(64)
    tables = MixtureTables(
        families=("normal", "laplace", "logistic"),
        components=3,
        skip_threshold=65472,
        exponential=(65535 // (1 + np.arange(256) ** 2 // 64)).astype(np.uint16),
        thresholds=np.tile(np.arange(-496, 497, 16, dtype=np.int16), (3, 1)),
        inverse_scale=np.tile((40_000_000 // (level + 1) ** 2).astype(np.uint32), (3, 1)),
        tail=np.tile((level + 4).astype(np.int32) ** 2, (3, 1)),
        half_cdf=np.array(half_cdf, np.uint16),
    )
    numbers = np.arange(4 * 3 * 2 * 30).reshape(4, 3, 2, 30)
    values = ((np.arange(24) * 31) % 19 - 9).reshape(2, 4, 3).astype(np.int16)
    values[1, 2, 1] = -700
    return Pass(tables, ((numbers * 7919) % 401 - 200).astype(np.int16), (2, 4, 3)), values


@pytest.mark.parametrize("use_native", [True, False])
def test_finish_fixed_pass_gives_the_words_of_format_version_1(use_native: bool, built: None) -> None:
    """Coded output is a promise: these words never change."""
    writer = StreamWriter(use_native=use_native)
    writer.code(*fixed_pass())

    words = [np.frombuffer(stream, "<u4").tolist() for stream in writer.finish(2)]

    assert words == WORDS
