"""constriction driven with integers: exactly the frequencies given, whatever the number of slots."""

from __future__ import annotations

import constriction
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlic.errors import CorruptedStream
from fastlic.runtime.entropy.range_coder import SymbolReader, SymbolWriter


def random_rows(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    """int64 (count, width + 1) cumulative frequencies, some slots of frequency 1 and some likely ones."""
    cdf = np.full((count, width + 1), 65536, np.int64)
    cdf[:, 0] = 0
    for row in cdf:
        bound = rng.choice([width, 65536])
        row[1:width] = 1 + np.sort(rng.choice(bound - 1, width - 1, replace=False))
    return cdf


@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 16, 64, 512]))
def test_write_three_entries_give_the_bytes_of_full_rows(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    cdf = random_rows(rng, 40, width)
    slots = rng.choice([0, 1, width // 2, width - 2, width - 1], 40)
    each = np.arange(40)

    writer = SymbolWriter()
    writer.write(cdf[each, slots], cdf[each, slots + 1] - cdf[each, slots])
    plain = constriction.stream.queue.RangeEncoder()
    family = constriction.stream.model.Categorical(perfect=False)
    plain.encode(slots.astype(np.int32), family, np.diff(cdf, axis=1) * 256 - 1.0)

    data = writer.finish()
    assert data == plain.get_compressed().astype("<u4").tobytes()
    reader = SymbolReader(data)
    np.testing.assert_array_equal(reader.read(cdf), slots)
    reader.finish()


@given(st.lists(st.integers(0, 65534), min_size=1, max_size=20))
def test_excess_any_values_are_read_back_at_two_bits_a_digit(values: list[int]) -> None:
    writer = SymbolWriter()
    for value in values:
        writer.write_excess(value)
    data = writer.finish()

    reader = SymbolReader(data)
    assert [reader.read_excess() for _ in values] == values
    reader.finish()
    bits = sum(2 * (value + 1).bit_length() - 1 for value in values)
    assert bits <= 8 * len(data) <= bits + 64


def test_read_excess_sixteen_zeros_raises() -> None:
    reader = SymbolReader(bytes(8))

    with pytest.raises(CorruptedStream, match="16 digits"):
        reader.read_excess()


def test_finish_before_the_last_symbol_raises() -> None:
    writer = SymbolWriter()
    for value in (1000, 2000, 3000):
        writer.write_excess(value)
    reader = SymbolReader(writer.finish())
    reader.read_excess()

    with pytest.raises(CorruptedStream, match="does not end"):
        reader.finish()
