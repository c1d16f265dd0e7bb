"""Blocks of BG-VAE: balanced ConvNeXt, wavelet scaling, cross-attention between neighbours, rate embedding.

Knows single blocks; knows nothing of latents or codecs. Everything is local, so that transforms can be cut into
windows: the balance is against a local mean, attention looks at a neighbourhood.
Source: seed 003 (which blocks there are); the forms of balance and attention are ours, docs/adding-a-student.md.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastlic.export.students.invertible import Haar, HaarInverse

NORM_FLOOR = 1e-6
FIRST_BRANCH = 0.1
"""What the branch of a new block counts beside its shortcut."""


class RateEmbedding(nn.Module):
    """A rate's number, int (1,) from 1, to a vector (width): two layers on the logarithm of its lambda."""

    points: Tensor

    def __init__(self, lambdas: tuple[float, ...], width: int) -> None:
        super().__init__()
        logs = torch.tensor(lambdas, dtype=torch.float64).log()
        spread = (logs - logs.mean()) / logs.std(correction=0).clamp_min(1.0)
        self.register_buffer("points", spread.float()[:, None], persistent=False)
        self.inner, self.outer = nn.Linear(1, width), nn.Linear(width, width)

    def forward(self, rate: Tensor) -> Tensor:
        """(1,) -> (width)."""
        at = self.points.index_select(0, rate.long() - 1)
        return self.outer(functional.silu(self.inner(at)))[0]


class RateGain(nn.Module):
    """A factor per channel that grows with the rate: (lambda / geometric mean) to a learnt power, at first 1/2.

    The encoder multiplies a latent by it before rounding, the decoder divides: a finer step where lambda is larger.
    """

    distances: Tensor

    def __init__(self, lambdas: tuple[float, ...], channels: int) -> None:
        super().__init__()
        logs = torch.tensor(lambdas, dtype=torch.float64).log()
        self.register_buffer("distances", (logs - logs.mean()).float(), persistent=False)
        self.power = nn.Parameter(torch.full((channels, 1, 1), 0.5))

    def forward(self, rate: Tensor) -> Tensor:
        """A rate, int (1,), from 1 -> (channels, 1, 1), positive."""
        return torch.exp(self.power * self.distances.index_select(0, rate.long() - 1))


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each position of (B, C, h, w), then a scale and a shift per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the norm."""
        centred = x - x.mean(1, keepdim=True)
        spread = torch.sqrt((centred * centred).mean(1, keepdim=True) + NORM_FLOOR)
        return centred / spread * self.scale[:, None, None] + self.shift[:, None, None]


class BalancedConvNext(nn.Module):
    """x + pointwise(norm(balance(depthwise(x)))), scaled by the rate. Keeps the shape (B, channels, h, w).

    The depth-wise result is split into DC, its mean over K x K, and HC, the rest; each is weighed per channel, so that
    depth does not smooth details away. The embedding scales and shifts what is normalised (lambda scaling).
    """

    box: Tensor

    def __init__(self, channels: int, kernel: int, expansion: int, embedding: int) -> None:
        super().__init__()
        self.kernel, self.channels = kernel, channels
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.balance = nn.Parameter(torch.zeros(2, channels, 1, 1))
        self.norm = ChannelNorm(channels)
        self.scaling = nn.Linear(embedding, 2 * channels)
        self.widen = nn.Conv2d(channels, expansion * channels, 1)
        self.narrow = nn.Conv2d(expansion * channels, channels, 1)
        self.branch = nn.Parameter(torch.full((channels, 1, 1), FIRST_BRANCH))
        box = torch.full((channels, 1, kernel, kernel), 1 / kernel**2)
        self.register_buffer("box", box, persistent=False)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        """Apply the block; `embedded` is (embedding), one rate for all pictures."""
        mixed = self.depthwise(x)
        low = functional.conv2d(mixed, self.box, padding=self.kernel // 2, groups=self.channels)
        mixed = (1 + self.balance[0]) * low + (1 + self.balance[1]) * (mixed - low)
        scale, shift = self.scaling(embedded)[:, None, None].chunk(2)
        inner = self.norm(mixed) * (1 + scale) + shift
        return x + self.branch * self.narrow(functional.silu(self.widen(inner)))


class WaveletDown(nn.Module):
    """(B, inputs, h, w) -> (B, outputs, h / 2, w / 2): Haar wavelet, then a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.haar, self.mix = Haar(inputs), nn.Conv2d(4 * inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; shapes in the class docstring."""
        return self.mix(self.haar(x))


class WaveletUp(nn.Module):
    """(B, inputs, h, w) -> (B, outputs, 2h, 2w): a 1x1 convolution, then the inverse Haar wavelet."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mix, self.haar = nn.Conv2d(inputs, 4 * outputs, 1), HaarInverse(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; shapes in the class docstring."""
        return self.haar(self.mix(x))


class CrossAttention(nn.Module):
    """x + what x's queries find in the 3 x 3 neighbourhood of another map. (B, channels, h, w) both, and the result.

    Beyond the border keys and values are zero; a learnt weight per head and neighbour is added to the logits.
    """

    def __init__(self, channels: int, other: int, heads: int) -> None:
        super().__init__()
        self.heads, self.depth = heads, channels // heads
        self.norm = ChannelNorm(channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Conv2d(other, 2 * channels, 1)
        self.place = nn.Parameter(torch.zeros(9, heads, 1, 1))
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """X (B, channels, h, w), other (B, `other`, h, w) -> (B, channels, h, w)."""
        height, width = x.shape[2:]
        query = self.query(self.norm(x)).unflatten(1, (self.heads, self.depth))
        around = functional.pad(self.key_value(other), (1, 1, 1, 1))
        logits, values = [], []
        for row in range(3):
            for column in range(3):
                key, value = around[:, :, row : row + height, column : column + width].chunk(2, dim=1)
                logits.append((query * key.unflatten(1, (self.heads, self.depth))).sum(2) * self.depth**-0.5)
                values.append(value.unflatten(1, (self.heads, self.depth)))
        weights = torch.softmax(torch.stack(logits, dim=1) + self.place, dim=1)
        found = (weights[:, :, :, None] * torch.stack(values, dim=1)).sum(1)
        return x + self.out(found.flatten(1, 2))
