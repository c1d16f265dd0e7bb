"""Invertible layers: Haar wavelets, 1x1 convolutions and affine couplings, each with its inverse.

Knows single layers; knows nothing of codecs. An inverse shares its layer's weights, and learns with it; `fixed` ones
have matrices of their own, inverted in float64, so that an exported decoder inverts nothing.
Source: Kingma and Dhariwal 2018 (1x1 convolution), Dinh et al. 2017 (coupling), Xiao et al. 2020 (Haar).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class Invertible(Protocol):
    """A layer that can be run backwards: (B, C, h, w) float -> (B, C', h', w') with C h w = C' h' w'."""

    def forward(self, x: Tensor) -> Tensor:
        """Towards the latent."""

    def inverted(self, *, fixed: bool) -> nn.Module:
        """A module that undoes `forward`; `fixed`: with weights of its own where they differ from the layer's."""


def haar_filters(channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """(4 channels, 1, 2, 2): average and three details of each channel, orthonormal; filters of a channel adjoin."""
    signs = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=dtype)
    return (signs / 2).view(4, 1, 2, 2).repeat(channels, 1, 1, 1)


class Haar(nn.Module):
    """(B, C, h, w), h and w even -> (B, 4 C, h / 2, w / 2): a fixed strided convolution."""

    filters: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("filters", haar_filters(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer; shapes in the class docstring."""
        return functional.conv2d(x, self.filters, stride=2, groups=self.channels)

    def inverted(self, *, fixed: bool) -> nn.Module:
        """The transposed convolution with the same filters: they are orthonormal."""
        return HaarInverse(self.channels)


class HaarInverse(Haar):
    """(B, 4 C, h, w) -> (B, C, 2h, 2w): a fixed transposed convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer; shapes in the class docstring."""
        return functional.conv_transpose2d(x, self.filters, stride=2, groups=self.channels)


class InvertibleConv(nn.Module):
    """A 1x1 convolution without bias, begun as a random rotation. Keeps the shape (B, channels, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(channels, channels)))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return functional.conv2d(x, self.weight[:, :, None, None])

    def inverted(self, *, fixed: bool) -> nn.Module:
        """The convolution with the inverse matrix, which is computed in float64."""
        undoing = _ConvInverse(self)
        if not fixed:
            return undoing
        inverse = InvertibleConv(self.weight.shape[0])
        with torch.no_grad():
            inverse.weight.copy_(undoing.matrix())
        return inverse


class _ConvInverse(nn.Module):
    """Undoes an `InvertibleConv`, whose matrix it inverts at each call."""

    def __init__(self, conv: InvertibleConv) -> None:
        super().__init__()
        self.conv = conv

    def matrix(self) -> Tensor:
        """(channels, channels) in the precision of the weights."""
        return torch.linalg.inv(self.conv.weight.double()).to(self.conv.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) -> the same shape."""
        return functional.conv2d(x, self.matrix()[:, :, None, None])


class Coupling(nn.Module):
    """Affine coupling of two unequal parts, 1:2, each scaled and shifted by a function of the other.

    a = a exp(s) + t with (s, t) from b, then b likewise from the new a; the functions are K x K, 1x1, K x K
    convolutions and s = `bound` tanh(.). Keeps the shape (B, channels, h, w), channels a multiple of 3.
    """

    def __init__(self, channels: int, kernel: int, hidden: int, bound: float) -> None:
        super().__init__()
        self.first, self.bound = channels // 3, bound
        self.of_second = _function(channels - self.first, 2 * self.first, kernel, hidden)
        self.of_first = _function(self.first, 2 * (channels - self.first), kernel, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer; shapes in the class docstring."""
        a, b = x[:, : self.first], x[:, self.first :]
        scale, shift = self._affine(self.of_second(b))
        a = a * torch.exp(scale) + shift
        scale, shift = self._affine(self.of_first(a))
        return torch.cat((a, b * torch.exp(scale) + shift), dim=1)

    def _affine(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = numbers.chunk(2, dim=1)
        return self.bound * torch.tanh(scale), shift

    def inverted(self, *, fixed: bool) -> nn.Module:
        """The same functions, run backwards; weights are shared."""
        return _CouplingInverse(self)


class _CouplingInverse(nn.Module):
    """Undoes a `Coupling`."""

    def __init__(self, coupling: Coupling) -> None:
        super().__init__()
        self.coupling = coupling

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) -> the same shape."""
        layer = self.coupling
        a, b = x[:, : layer.first], x[:, layer.first :]
        scale, shift = layer._affine(layer.of_first(a))
        b = (b - shift) * torch.exp(-scale)
        scale, shift = layer._affine(layer.of_second(b))
        return torch.cat(((a - shift) * torch.exp(-scale), b), dim=1)


def _function(inputs: int, outputs: int, kernel: int, hidden: int) -> nn.Sequential:
    """K x K, 1x1, K x K convolutions; the last is zero at first, so that a new coupling is the identity."""
    last = nn.Conv2d(hidden, outputs, kernel, padding=kernel // 2)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return nn.Sequential(
        nn.Conv2d(inputs, hidden, kernel, padding=kernel // 2),
        nn.LeakyReLU(0.01),
        nn.Conv2d(hidden, hidden, 1),
        nn.LeakyReLU(0.01),
        last,
    )
