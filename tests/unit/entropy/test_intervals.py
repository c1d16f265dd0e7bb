"""The native intervals against numpy's, and the properties that coding rests on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlic.errors import BundleError
from fastlic.runtime.entropy.intervals import intervals_of
from fastlic.runtime.entropy.passes import Pass

MIXTURES = [(("normal",), 3), (("normal", "laplace", "logistic"), 3), (("logistic", "normal"), 8), (("laplace",), 16)]


@pytest.mark.usefixtures("built")
@given(st.integers(0, 2**32 - 1), st.sampled_from(MIXTURES), st.booleans())
@settings(max_examples=60, deadline=None)
def test_intervals_any_value_equal_in_numpy_and_native(
    tables_of: Callable, parameters_of: Callable, seed: int, mixture: tuple, wild: bool
) -> None:
    rng = np.random.default_rng(seed)
    tables = tables_of(*mixture)
    pass_ = Pass(tables, parameters_of(rng, (5, 7, 11), tables, wild), (11, 5, 7))
    values = rng.integers(-1400, 1401, (11, 5, 7)).astype(np.int16)

    seen, intervals = intervals_of(pass_, values, use_native=True)
    seen_twin, twin = intervals_of(pass_, values, use_native=False)

    np.testing.assert_array_equal(seen, seen_twin)
    np.testing.assert_array_equal(intervals.left, twin.left)
    np.testing.assert_array_equal(intervals.frequency, twin.frequency)
    np.testing.assert_array_equal(intervals.excess, twin.excess)


@pytest.mark.usefixtures("built")
def test_native_frequencies_of_millions_of_elements_are_positive(tables_of: Callable) -> None:
    """Every int16 parameter is allowed; neighbouring slots of each element are asked for in turn."""
    tables = tables_of()
    rng = np.random.default_rng(11)
    shape = (64, 64, 64)
    for _ in range(2):
        parameters = rng.integers(-32768, 32768, (64, 64, 64, 30), np.int16)
        parameters[..., 9:18] //= 16  # means near each other, so that components overlap
        previous = None
        for value in range(-2, 3):
            pass_ = Pass(tables, parameters, shape)
            _, intervals = intervals_of(pass_, np.full(shape, value, np.int16), use_native=True)
            assert intervals.frequency.min() > 0
            assert int((intervals.left + intervals.frequency).max()) <= 65536
            if previous is not None:
                inner = (intervals.excess < 0) & (previous.excess < 0)
                np.testing.assert_array_equal(
                    intervals.left[inner], (previous.left + previous.frequency)[inner], "slots do not adjoin"
                )
            previous = intervals


@pytest.mark.parametrize("use_native", [True, False])
def test_intervals_row_beyond_the_table_raises(
    rows_of: Callable, rng: np.random.Generator, use_native: bool, built: None
) -> None:
    pass_ = Pass(rows_of(rng, 3), np.full((2, 2, 1), -1, np.int16), (1, 2, 2))

    with pytest.raises(BundleError, match="-1"):
        intervals_of(pass_, np.zeros((1, 2, 2), np.int16), use_native)


@pytest.mark.parametrize("use_native", [True, False])
def test_bits_outer_slots_cost_their_excess(rows_of: Callable, use_native: bool, built: None) -> None:
    tables = rows_of(np.random.default_rng(2), 1)
    below = int(tables.low[0])
    values = np.array([[[below, below - 1, below - 2, below - 3]]], np.int16)

    _, intervals = intervals_of(Pass(tables, None, (1, 1, 4)), values, use_native)

    assert intervals.excess.tolist() == [0, 1, 2, 3]
    assert intervals.bits() == pytest.approx(4 * (16 - np.log2(float(tables.cdf[0, 1]))) + 1 + 3 + 3 + 5)
