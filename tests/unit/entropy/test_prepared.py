"""Order of the coded elements, and their cutting into runs of one width."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.prepared import prepare, runs


def test_prepare_elements_are_in_order_of_width_channel_row_and_column(
    rows_of: Callable, rng: np.random.Generator
) -> None:
    tables = rows_of(rng, 30)
    rows = rng.integers(0, 30, (4, 3, 5)).astype(np.int16)  # (h, w', C')
    active = np.array([True, True, False, True, True])

    prepared = prepare(Pass(tables, rows, (5, 4, 3), active))

    places = [(c, r, j) for c in range(5) for r in range(4) for j in range(3) if active[c]]
    places.sort(key=lambda place: (tables.window[rows[place[1], place[2], place[0]]], place))
    assert prepared.index.tolist() == [c * 12 + r * 3 + j for c, r, j in places]
    assert prepared.width.tolist() == [tables.window[rows[r, j, c]] for c, r, j in places]
    assert prepared.low.tolist() == [tables.low[rows[r, j, c]] for c, r, j in places]


def test_prepare_skipped_elements_are_left_out_and_have_their_centre(
    tables_of: Callable, parameters_of: Callable, rng: np.random.Generator
) -> None:
    tables = tables_of(("normal",), 1)
    parameters = parameters_of(rng, (6, 6, 4), tables, False)
    parameters[..., 2] = np.where(rng.random((6, 6, 4)) < 0.5, -500, 0)
    certain = (parameters[..., 2] == -500).transpose(2, 0, 1)

    prepared = prepare(Pass(tables, parameters, (4, 6, 6)))

    coded = np.zeros((4, 6, 6), np.bool_)
    coded.flat[prepared.index] = True
    near = (np.abs((parameters[..., 1] + 16) % 32 - 16) <= 4).transpose(2, 0, 1)  # 1/8 of a step from an integer
    assert not coded[certain & near].any()
    assert coded[~certain].all()
    centre = ((parameters[..., 1] + 16) >> 5).transpose(2, 0, 1)
    np.testing.assert_array_equal(prepared.fixed[~coded], centre[~coded])


@given(st.integers(0, 10**6), st.tuples(st.integers(0, 60), st.integers(0, 60)), st.sampled_from([1, 100, 5000]))
def test_runs_any_share_is_covered_once_in_one_width_each(
    rows_of: Callable, seed: int, ends: tuple[int, int], limit: int
) -> None:
    prepared = prepare(Pass(rows_of(np.random.default_rng(seed), 60), None, (60, 1, 1)))
    share = slice(min(ends), max(ends))

    found = runs(prepared, share, limit)

    assert [n for run in found for n in range(run.start, run.stop)] == list(range(share.start, share.stop))
    for run in found:
        assert len(set(prepared.width[run].tolist())) == 1
        assert run.stop - run.start == 1 or (run.stop - run.start) * prepared.width[run.start] <= limit


@pytest.mark.parametrize("shape", [(3, 0, 4), (3, 4, 0)])
def test_prepare_empty_pass_has_no_elements(rows_of: Callable, rng: np.random.Generator, shape: tuple) -> None:
    prepared = prepare(Pass(rows_of(rng, 3), None, shape))

    assert prepared.index.size == 0
    assert runs(prepared, slice(0, 0), 100) == []
