"""The deep factorised prior: a learnt cumulative distribution per channel of the hyper latent.

Knows one prior; knows nothing of networks. Key names and shapes are those of CompressAI's `EntropyBottleneck`.
Source: Balle et al. 2018, appendix 6.1.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastlic.export.students.likelihood import LIKELIHOOD_FLOOR

FILTERS = (3, 3, 3, 3)
TAIL_MASS = 1e-9
INITIAL_SCALE = 10.0


class _Bound(nn.Module):
    """Holds the constant that CompressAI stores as `likelihood_lower_bound.bound`."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bound", torch.tensor([LIKELIHOOD_FLOOR]))


class FactorisedPrior(nn.Module):
    """One cumulative distribution per channel, a small monotone network each; independent of position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (1, *FILTERS, 1)
        scale = INITIAL_SCALE ** (1 / (len(FILTERS) + 1))
        self.quantiles = nn.Parameter(torch.tensor([-INITIAL_SCALE, 0.0, INITIAL_SCALE]).repeat(channels, 1, 1))
        self.likelihood_lower_bound = _Bound()
        self.matrices = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.factors = nn.ParameterList()
        for inputs, outputs in itertools.pairwise(widths):
            initial = math.log(math.expm1(1 / scale / outputs))
            self.matrices.append(nn.Parameter(torch.full((channels, outputs, inputs), initial)))
            self.biases.append(nn.Parameter(torch.rand(channels, outputs, 1) - 0.5))
            if len(self.factors) < len(FILTERS):
                self.factors.append(nn.Parameter(torch.zeros(channels, outputs, 1)))

    def medians(self) -> Tensor:
        """(channels) float: the centre of each channel's integer grid, outside the graph of gradients."""
        return self.quantiles[:, 0, 1].detach()

    def logits(self, values: Tensor, *, fixed: bool = False) -> Tensor:
        """Logits of the cumulative distributions.

        Args:
            values: (channels, 1, n) float.
            fixed: leave the distributions' own parameters out of the graph of gradients.

        Returns:
            (channels, 1, n) float; the sigmoid of it is the cumulative distribution.
        """
        at = values
        for index, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            matrix, bias = (matrix.detach(), bias.detach()) if fixed else (matrix, bias)
            at = functional.softplus(matrix) @ at + bias
            if index < len(self.factors):
                factor = self.factors[index].detach() if fixed else self.factors[index]
                at = at + torch.tanh(factor) * torch.tanh(at)
        return at

    def likelihood(self, z: Tensor) -> Tensor:
        """Probability of the unit interval around each value.

        Args:
            z: (B, channels, h, w) float, on the medians' grid or with uniform noise.

        Returns:
            (B, channels, h, w) float in [0, 1], not bounded from below.
        """
        values = z.float().transpose(0, 1)
        flat = values.reshape(values.shape[0], 1, -1)
        lower, upper = self.logits(flat - 0.5), self.logits(flat + 0.5)
        # Taken in the tail on the value's own side, where differences of sigmoids keep their digits.
        sign = -torch.sign(lower + upper).detach()
        interval = (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()
        return interval.view_as(values).transpose(0, 1)

    def quantile_loss(self) -> Tensor:
        """Scalar, least at the quantiles of 1e-9 / 2, 1/2 and 1 - 1e-9 / 2; its gradient moves the quantiles alone."""
        tail = math.log(2 / TAIL_MASS - 1)
        target = self.quantiles.new_tensor([-tail, 0.0, tail])
        return (self.logits(self.quantiles, fixed=True) - target).abs().sum()
