from __future__ import annotations

import pytest
import torch

from fastlic.export.students.factorised import FactorisedPrior


@pytest.fixture
def prior():
    torch.manual_seed(3)
    return FactorisedPrior(4)


def test_likelihood_of_all_integers_sums_to_one(prior):
    grid = torch.arange(-400.0, 401).expand(1, 4, 1, 801)

    assert torch.allclose(prior.likelihood(grid).sum((0, 2, 3)), torch.ones(4), atol=1e-4)


def test_likelihood_far_out_keeps_a_gradient(prior):
    far = torch.full((1, 4, 1, 1), 150.0, requires_grad=True)

    prior.likelihood(far).log().sum().backward()

    assert far.grad is not None
    assert bool((far.grad < 0).all())


def test_quantile_loss_descent_finds_the_median_and_moves_nothing_else(prior):
    optimiser = torch.optim.Adam([prior.quantiles], lr=0.2)
    for _ in range(300):
        optimiser.zero_grad()
        loss = prior.quantile_loss()
        loss.backward()
        optimiser.step()

    assert all(parameter.grad is None for parameter in prior.matrices)
    at_median = prior.logits(prior.medians()[:, None, None])
    assert float(torch.sigmoid(at_median.detach()).sub(0.5).abs().max()) < 0.05


def test_keys_are_those_of_compressai(prior):
    keys = set(prior.state_dict())

    layers = [f"{name}.{i}" for name, count in (("matrices", 5), ("biases", 5), ("factors", 4)) for i in range(count)]
    assert keys == {"quantiles", "likelihood_lower_bound.bound", *layers}
