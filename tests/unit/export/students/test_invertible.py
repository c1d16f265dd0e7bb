"""Every invertible layer is undone by its inverse, and wavelets keep the energy."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fastlic.export.students.invertible import Coupling, Haar, InvertibleConv


def lively(layer: nn.Module) -> nn.Module:
    """The layer with its zero weights replaced: a new coupling is the identity."""
    with torch.no_grad():
        for parameter in layer.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return layer


LAYERS = {
    "haar": lambda: Haar(6),
    "convolution": lambda: InvertibleConv(6),
    "coupling": lambda: lively(Coupling(6, 3, 4, 1.0)),
}


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_layer_and_its_inverse_give_the_input_back(make, fixed: bool) -> None:
    torch.manual_seed(1)
    layer, x = make(), torch.randn(2, 6, 8, 12)

    with torch.no_grad():
        y = layer(x)
        back = layer.inverted(fixed=fixed)(y)

    assert y.numel() == x.numel()
    assert float((y - x.reshape(y.shape)).abs().max()) > 0.1
    assert float((back - x).abs().max()) < 1e-5


def test_haar_is_orthonormal_and_its_first_channel_the_average() -> None:
    x = torch.randn(1, 1, 4, 4)

    y = Haar(1)(x)

    assert torch.allclose(y.square().sum(), x.square().sum(), rtol=1e-5)
    assert torch.allclose(y[0, 0, 0, 0], x[0, 0, :2, :2].sum() / 2)


def test_fixed_inverse_keeps_a_matrix_of_its_own() -> None:
    layer = InvertibleConv(5)
    fixed, learning = layer.inverted(fixed=True), layer.inverted(fixed=False)
    before = fixed(torch.ones(1, 5, 1, 1))

    with torch.no_grad():
        layer.weight.mul_(2)

    assert torch.equal(fixed(torch.ones(1, 5, 1, 1)), before)
    assert torch.allclose(learning(torch.ones(1, 5, 1, 1)), before / 2, atol=1e-6)


def test_gradient_reaches_the_matrix_through_its_inverse() -> None:
    layer = InvertibleConv(4)

    layer.inverted(fixed=False)(torch.ones(1, 4, 1, 1)).sum().backward()

    assert layer.weight.grad is not None
    assert bool(layer.weight.grad.any())
