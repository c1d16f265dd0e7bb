from __future__ import annotations

import torch
from torch import nn

from fastlic.export.distill.averaging import Average


def test_average_forgets_its_start_and_follows_the_source():
    source = nn.Linear(2, 2)
    average = Average(source, 0.9)
    with torch.no_grad():
        source.weight.fill_(1.0)
        for iteration in range(200):
            average.update(source, iteration)

    assert torch.allclose(average.model.weight, torch.ones(2, 2), atol=1e-4)
    assert not average.model.weight.requires_grad
    assert not average.model.training


def test_average_early_iterations_count_as_a_running_mean():
    source = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        source.weight.fill_(0.0)
    average = Average(source, 0.999)
    with torch.no_grad():
        source.weight.fill_(1.0)

    average.update(source, 0)

    # Decay (1 + 0) / (10 + 0), not 0.999.
    assert float(average.model.weight) == torch.tensor(0.9).item()
