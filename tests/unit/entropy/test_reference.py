"""The numpy twin of the integer mixture against the document's formulas and the properties that coding rests on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlic.kernels import reference
from fastlic.runtime.entropy.tables import MixtureTables

seeds = st.integers(0, 2**32 - 1)
MIXTURES = [(("normal",), 3), (("normal", "laplace", "logistic"), 3), (("logistic", "normal"), 8), (("laplace",), 16)]


def elements_of(tables: MixtureTables, parameters: np.ndarray) -> reference.Elements:
    return reference.prepare(tables, parameters.reshape(-1, tables.parameter_count))


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("wild", [False, True])
def test_cdf_any_parameters_rises_strictly_over_every_slot(
    tables_of: Callable, parameters_of: Callable, rng: np.random.Generator, mixture: tuple, wild: bool
) -> None:
    tables = tables_of(*mixture)
    elements = elements_of(tables, parameters_of(rng, (1500,), tables, wild))
    classes = np.unique(elements.window)
    for window in classes:
        chosen = elements[elements.window == window]
        width = int(reference.WINDOWS[window])
        slots = np.broadcast_to(np.arange(width + 1), (len(chosen.centre), width + 1))

        rows = reference.cdf(tables, chosen, slots)

        assert (np.diff(rows, axis=1) > 0).all()
        assert (rows[:, 0] == 0).all()
        assert (rows[:, -1] == 65536).all()
    assert wild or len(classes) >= 4


@given(seeds, st.sampled_from(MIXTURES), st.booleans())
@settings(max_examples=40, deadline=None)
def test_weights_any_logits_sum_to_one_and_are_floors(
    tables_of: Callable, parameters_of: Callable, seed: int, mixture: tuple, wild: bool
) -> None:
    """The document's formula in Python's integers, for each element on its own."""
    tables = tables_of(*mixture)
    parameters = parameters_of(np.random.default_rng(seed), (20,), tables, wild)

    weights = elements_of(tables, parameters).weights

    families, components = len(tables.families), tables.components
    table = tables.exponential.tolist()
    for numbers, row in zip(parameters.tolist(), weights.tolist(), strict=True):
        logits = [numbers[f * components : (f + 1) * components] for f in range(families)]
        e = [[table[min(255, max(own) - x)] for x in own] for own in logits]
        last = numbers[3 * families * components :]
        g = [table[min(255, max(last) - x)] for x in last] if families > 1 else [1]
        shares = [g[f] * x * 2**15 // (sum(g) * sum(e[f])) for f in range(families) for x in e[f]]
        shares[shares.index(max(shares))] += 2**15 - sum(shares)
        assert row == shares


def test_prepare_ties_choose_the_lowest_component(tables_of: Callable) -> None:
    tables = tables_of(("normal",), 3)
    parameters = np.array([[0, 0, 0, 96, 320, -64, -300, -300, -300]], np.int16)

    elements = elements_of(tables, parameters)

    assert elements.weights.tolist() == [[10924, 10922, 10922]]
    assert elements.centre.tolist() == [3]


@pytest.mark.parametrize(("mean", "centre"), [(15, 0), (16, 1), (-16, 0), (-17, -1), (32767, 1024), (-32768, -1024)])
def test_prepare_mean_is_rounded_to_nearest_half_up(tables_of: Callable, mean: int, centre: int) -> None:
    tables = tables_of(("normal",), 1)

    assert elements_of(tables, np.array([[0, mean, 0]], np.int16)).centre.tolist() == [centre]


def test_prepare_scale_index_on_a_threshold_is_the_level_above(tables_of: Callable) -> None:
    tables = tables_of(("normal",), 1)
    edge = int(tables.thresholds[0, 30])
    parameters = np.array([[0, 0, edge - 1], [0, 0, edge], [0, 0, -32768], [0, 0, 32767]], np.int16)

    assert elements_of(tables, parameters).levels[:, 0].tolist() == [30, 31, 0, 63]


def test_prepare_component_of_weight_zero_does_not_widen_the_window(tables_of: Callable) -> None:
    tables = tables_of(("normal",), 2)
    narrow = [0, -300, 0, 32000, -600, 32767]  # exp(-300 / 16) is 0 in Q16

    elements = elements_of(tables, np.array([narrow, [0, 0, *narrow[2:]]], np.int16))

    assert elements.window.tolist() == [0, 6]
