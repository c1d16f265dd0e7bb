from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fastlic.export.students.layers import Attention, DrmDown, DrmUp, Gdn, ResidualBlock, SubPixelConv

SLOPE = 0.01


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_follows_its_formula_whatever_the_signs(inverse):
    block = Gdn(3, inverse)
    torch.nn.init.normal_(block.beta)
    torch.nn.init.normal_(block.gamma)
    x = torch.randn(1, 3, 4, 5)

    root = (block.beta.abs() + 1e-6)[:, None, None] + torch.einsum("oc,bchw->bohw", block.gamma.abs(), x.square())
    expected = x * root.sqrt() if inverse else x / root.sqrt()

    assert torch.allclose(block(x), expected, rtol=1e-5, atol=1e-6)


def test_inverse_gdn_far_from_training_stays_finite():
    block = Gdn(2)
    torch.nn.init.zeros_(block.beta)

    assert bool(torch.isfinite(block(torch.zeros(1, 2, 3, 3))).all())


@pytest.mark.parametrize(
    ("block", "inputs", "shape"),
    [
        (DrmDown(3, 4, SLOPE), 3, (4, 4, 6)),
        (DrmUp(3, 4, SLOPE), 3, (4, 16, 24)),
        (SubPixelConv(3, 5), 3, (5, 16, 24)),
        (ResidualBlock(4, SLOPE), 4, (4, 8, 12)),
        (Attention(4, SLOPE), 4, (4, 8, 12)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_block_gives_the_stated_shape(block, inputs, shape):
    assert block(torch.randn(1, inputs, 8, 12)).shape == (1, *shape)


def test_drm_up_zero_offsets_follows_its_formula():
    block = DrmUp(3, 4, SLOPE)
    x = torch.randn(1, 3, 4, 5)

    inner = functional.leaky_relu(functional.pixel_shuffle(block.conv(x), 2), SLOPE)
    inner = functional.conv2d(inner, block.deform.weight, block.deform.bias, padding=1)
    expected = block.gdn(inner) + functional.pixel_shuffle(block.shortcut(x), 2)

    assert torch.allclose(block(x), expected, atol=1e-5)
