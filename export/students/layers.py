"""Building blocks of convolutional students.

Knows shapes and arithmetic of single blocks; knows nothing of whole networks, entropy models or training. The names of
submodules are the key names of checkpoints, so renaming one is a change of format.
Source: Fu et al. 2023 (deformable residual module), Balle et al. 2016 (GDN), Cheng et al. 2020 (attention, residual
block).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastlic.export.students.deform import DeformConv2d

GDN_FLOOR = 1e-6


def conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the resolution, or divides it by `stride`."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


class SubPixelConv(nn.Module):
    """`conv` 3x3 to 4 x outputs channels, then pixel shuffle: doubles height and width.

    (B, inputs, h, w) -> (B, outputs, 2h, 2w).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv3(inputs, 4 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; shapes in the class docstring."""
        return functional.pixel_shuffle(self.conv(x), 2)


class Gdn(nn.Module):
    """Generalised divisive normalisation, or its multiplicative inverse.

    x / sqrt(beta + gamma . x^2), or x * sqrt(...) with `inverse`; beta = |`beta`| + 1e-6, gamma = |`gamma`|.
    Keeps the shape (B, channels, h, w).
    """

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.ones(channels))
        self.gamma = nn.Parameter(0.1 * torch.eye(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; shapes in the class docstring."""
        gamma = self.gamma.abs()[:, :, None, None]
        power = functional.conv2d(x * x, gamma, self.beta.abs() + GDN_FLOOR)
        return x * (torch.sqrt(power) if self.inverse else torch.rsqrt(power))


class ResidualBlock(nn.Module):
    """x + LR(conv2(LR(conv1(x)))), two 3x3 convolutions. Keeps the shape."""

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.conv1 = conv3(channels, channels)
        self.conv2 = conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; shapes in the class docstring."""
        inner = functional.leaky_relu(self.conv1(x), self.slope)
        return x + functional.leaky_relu(self.conv2(inner), self.slope)


class BottleneckUnit(nn.Module):
    """The residual unit inside attention: 1x1 to half the channels, 3x3, 1x1 back. Keeps the shape."""

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        half = max(1, channels // 2)
        self.slope = slope
        self.conv1 = nn.Conv2d(channels, half, 1)
        self.conv2 = conv3(half, half)
        self.conv3 = nn.Conv2d(half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; shapes in the class docstring."""
        inner = functional.leaky_relu(self.conv1(x), self.slope)
        inner = functional.leaky_relu(self.conv2(inner), self.slope)
        return functional.leaky_relu(x + self.conv3(inner), self.slope)


class Attention(nn.Module):
    """x + trunk(x) * sigmoid(mask(x)); trunk and mask are three bottleneck units each. Keeps the shape."""

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*(BottleneckUnit(channels, slope) for _ in range(3)))
        self.mask = nn.Sequential(
            *(BottleneckUnit(channels, slope) for _ in range(3)), nn.Conv2d(channels, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; shapes in the class docstring."""
        return x + self.trunk(x) * torch.sigmoid(self.mask(x))


class DrmDown(nn.Module):
    """Deformable residual module that halves the resolution: gdn(deform(LR(conv(x)))) + shortcut(x).

    (B, inputs, h, w) with even h and w -> (B, outputs, h / 2, w / 2).
    """

    def __init__(self, inputs: int, outputs: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.conv = conv3(inputs, outputs, stride=2)
        self.deform = DeformConv2d(outputs, outputs)
        self.gdn = Gdn(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; shapes in the class docstring."""
        inner = functional.leaky_relu(self.conv(x), self.slope)
        return self.gdn(self.deform(inner)) + self.shortcut(x)


class DrmUp(nn.Module):
    """Deformable residual module that doubles the resolution: igdn(deform(LR(PS2(conv(x))))) + PS2(shortcut(x)).

    (B, inputs, h, w) -> (B, outputs, 2h, 2w).
    """

    def __init__(self, inputs: int, outputs: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.conv = conv3(inputs, 4 * outputs)
        self.deform = DeformConv2d(outputs, outputs)
        self.gdn = Gdn(outputs, inverse=True)
        self.shortcut = nn.Conv2d(inputs, 4 * outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; shapes in the class docstring."""
        inner = functional.leaky_relu(functional.pixel_shuffle(self.conv(x), 2), self.slope)
        return self.gdn(self.deform(inner)) + functional.pixel_shuffle(self.shortcut(x), 2)


class PositionedSequential(nn.Sequential):
    """A `Sequential` whose entries keep given positions as key names, with gaps where modules are omitted."""

    def __init__(self, modules: dict[int, nn.Module]) -> None:
        super().__init__()
        for position in sorted(modules):
            self.add_module(str(position), modules[position])
