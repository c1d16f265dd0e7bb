from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from fastlic.export.integer.affine import affine_of, convolution, phases_of

LAYERS = {
    "convolution": nn.Conv2d(3, 4, 5, padding=2),
    "pointwise": nn.Conv2d(3, 4, 1),
    "sub-pixel": nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.PixelShuffle(2)),
    "transposed, stride 1": nn.ConvTranspose2d(3, 4, 3, padding=1),
    "transposed 5x5, stride 2": nn.ConvTranspose2d(3, 4, 5, stride=2, padding=2, output_padding=1),
    "transposed 3x3, stride 2": nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
}


@torch.no_grad()
@pytest.mark.parametrize("module", LAYERS.values(), ids=LAYERS)
def test_affine_layer_computes_what_the_module_does_at_borders_too(module: nn.Module) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 5, 7)

    torch.testing.assert_close(affine_of("layer", module)(x), module(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("size", [3, 5, 7])
def test_phases_of_a_transposed_convolution_interleave_to_its_output(size: int) -> None:
    torch.manual_seed(size)
    module = nn.ConvTranspose2d(2, 3, size, stride=2, padding=size // 2, output_padding=1)
    x = torch.randn(2, 2, 4, 6)

    torch.testing.assert_close(functional.pixel_shuffle(phases_of(module)(x), 2), module(x), atol=1e-5, rtol=1e-5)


def test_dead_taps_are_left_out() -> None:
    alive = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]]).numpy() > 0

    source, _ = convolution(nn.Conv2d(2, 3, 3, padding=1), alive)

    assert source.taps == ((-1, 0), (0, -1), (0, 1), (1, 0))
    assert source.weight.shape == (4, 2, 3)
