from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from fastlic.errors import ConfigurationError
from fastlic.export.distill.optimisers import LONGEST_SIDE, QUANTILE_RATE, Optimisers


def _parameters() -> dict[str, nn.Parameter]:
    shapes = {"matrix": (4, 3, 3, 3), "bias": (4,), "long": (LONGEST_SIDE + 1, 2), "prior": (3, 3), "quantiles": (3, 1)}
    return {name: nn.Parameter(torch.ones(shape)) for name, shape in shapes.items()}


def _make(method: str, found: dict[str, nn.Parameter]) -> Optimisers:
    return Optimisers(method, [found["matrix"], found["bias"], found["long"]], [found["prior"]], [found["quantiles"]])


def _step(optimisers: Optimisers, found: dict[str, nn.Parameter], seed: int) -> None:
    torch.manual_seed(seed)
    for parameter in found.values():
        parameter.grad = torch.randn(parameter.shape)
    optimisers.step()


@pytest.mark.parametrize("method", ["adam", "soap"])
def test_rates_are_those_of_their_groups(method):
    found = _parameters()
    optimisers = _make(method, found)
    optimisers.load_state_dict(optimisers.state_dict())  # the groups are others now
    optimisers.set_rates(0.0, 0.0)

    _step(optimisers, found, 0)
    first = float((found["quantiles"].detach() - 1).abs().max())
    _step(optimisers, found, 1)  # the first step of SOAP makes its basis only

    moved = {name for name, value in found.items() if not torch.equal(value, torch.ones_like(value))}
    assert moved == {"quantiles"}
    assert first == pytest.approx(QUANTILE_RATE, rel=1e-3)


def test_soap_changes_small_matrices_otherwise_and_nothing_else():
    by_adam, by_soap = _parameters(), _parameters()
    for method, found in (("adam", by_adam), ("soap", by_soap)):
        optimisers = _make(method, found)
        optimisers.set_rates(0.1, 0.1)
        for seed in range(4):
            _step(optimisers, found, seed)

    same = {name for name, value in by_adam.items() if torch.equal(value, by_soap[name])}
    assert same == {"bias", "long", "prior", "quantiles"}


def test_state_of_another_method_is_refused():
    with pytest.raises(ValueError, match="parameter group"):
        _make("adam", _parameters()).load_state_dict(_make("soap", _parameters()).state_dict())


def test_soap_without_its_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)

    with pytest.raises(ConfigurationError, match=r"fastlic\[distill\]"):
        _make("soap", _parameters())
