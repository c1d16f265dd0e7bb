from __future__ import annotations

import math

import pytest
import torch

from fastlic.export.students.likelihood import FAMILIES, cumulative, lower_bound, mixture_likelihood

FAMILY_SCALES = {"normal": 1.0, "laplace": math.sqrt(2), "logistic": math.pi / math.sqrt(3)}


def test_lower_bound_below_passes_only_gradients_that_raise_the_value():
    x = torch.tensor([0.5, 1e-12, 1e-12], requires_grad=True)

    bounded = lower_bound(x, 1e-9)
    bounded.backward(torch.tensor([2.0, -3.0, 3.0]))

    assert bounded.tolist() == pytest.approx([0.5, 1e-9, 1e-9])
    # A negative gradient means that descent raises x: it passes even below the bound.
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, -3.0, 0.0]


def test_lower_bound_outlier_is_pulled_back_by_descent():
    raw = torch.zeros(1, 9, 1, 1, 1)
    mean = torch.zeros((), requires_grad=True)
    value = torch.full((1, 1, 1, 1), 4.0)
    optimiser = torch.optim.Adam([mean], lr=0.2)
    for _ in range(40):
        parameters = raw.clone()
        parameters[:, 1::3] = mean
        loss = -torch.log2(lower_bound(mixture_likelihood(value, parameters, ("normal",), 3), 1e-9)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    assert float(mean.detach()) > 2


@pytest.mark.parametrize("family", FAMILIES)
def test_cumulative_has_the_deviation_of_its_family(family):
    t = torch.linspace(-60, 60, 240_001, dtype=torch.float64)
    density = torch.diff(cumulative(family, t))
    middles = (t[1:] + t[:-1]) / 2

    assert float(density.sum()) == pytest.approx(1, abs=1e-9)
    assert float((density * middles.square()).sum().sqrt()) == pytest.approx(FAMILY_SCALES[family], rel=1e-4)


@pytest.mark.parametrize("families", [FAMILIES, ("normal",)])
def test_mixture_probabilities_of_all_integers_sum_to_one(families):
    torch.manual_seed(1)
    numbers = 9 * len(families) + (len(families) if len(families) > 1 else 0)
    parameters = torch.randn(1, numbers, 1, 1, 1).expand(1, numbers, 1, 1, 401)

    total = mixture_likelihood(torch.arange(-200.0, 201)[None, None, None], parameters, families, 3).sum()

    assert float(total) == pytest.approx(1, abs=1e-4)


def test_mixture_component_order_is_weight_mean_scale_then_family():
    parameters = torch.zeros(1, 30, 1, 1, 1)
    parameters[:, 3 * 4] = 40.0  # logit of component 4, the middle Laplace
    parameters[:, 3 * 4 + 1] = 7.0  # its mean
    parameters[:, 3 * 4 + 2] = -20.0  # softplus is 0, so b = 0.11
    parameters[:, 27 + 1] = 40.0  # logit of the Laplace family

    found = mixture_likelihood(torch.full((1, 1, 1, 1), 7.0), parameters, FAMILIES, 3)

    assert float(found) == pytest.approx(1 - math.exp(-0.5 / 0.11), abs=1e-6)
