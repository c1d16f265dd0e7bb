from __future__ import annotations

import msgspec
import pytest

from fastlic.export.distill.configuration import Optimiser
from fastlic.export.distill.pace import learning_rate

SETTINGS = Optimiser(iterations=1000, learning_rate=1e-3, final_learning_rate=1e-5, warm_up=100)


@pytest.mark.parametrize(
    ("iteration", "rate"), [(0, 1e-5), (49, 5e-4), (99, 1e-3), (100, 1e-3), (550, (1e-3 + 1e-5) / 2), (1000, 1e-5)]
)
def test_learning_rate_warms_up_and_falls_as_half_a_cosine(iteration, rate):
    assert learning_rate(iteration, SETTINGS) == pytest.approx(rate)


@pytest.mark.parametrize(("iteration", "rate"), [(100, 1e-3), (325, 0.75e-3 + 0.25e-5), (1000, 1e-5), (5000, 1e-5)])
def test_learning_rate_falls_in_a_straight_line_where_asked(iteration, rate):
    assert learning_rate(iteration, msgspec.structs.replace(SETTINGS, decay="linear")) == pytest.approx(rate)


def test_learning_rate_beyond_the_end_stays_at_its_final_value():
    assert learning_rate(5000, SETTINGS) == pytest.approx(1e-5)
