"""Likelihoods of rounded latents under mixtures, in float, for training and as the reference of the integer tables.

Knows distributions; knows nothing of networks. Source: Fu et al. 2023 (GLLMM: three families of three components).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

FAMILIES = ("normal", "laplace", "logistic")
LIKELIHOOD_FLOOR = 1e-9
SCALE_FLOOR = 0.11


class _LowerBound(torch.autograd.Function):
    """max(x, bound) whose gradient passes also below the bound when descending along it would raise x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp_min(bound)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradient * ((x >= ctx.bound) | (gradient < 0)), None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """Clamp from below without losing the gradient of outliers.

    A plain clamp stops the gradient of exactly the elements that cost most: they then grow unseen.

    Args:
        x: any shape, float.
        bound: the smallest value returned.

    Returns:
        max(x, bound), the shape of `x`. Its gradient is zero only where x < bound and the gradient would lower x.
    """
    return _LowerBound.apply(x, bound)


def cumulative(family: str, t: Tensor) -> Tensor:
    """The cumulative distribution at `t` (any shape) for mean 0 and sigma, Laplace's b or logistic's s of 1."""
    if family == "normal":
        return 0.5 * torch.erfc(t * -math.sqrt(0.5))
    if family == "laplace":
        tail = 0.5 * torch.exp(-t.abs())
        return torch.where(t < 0, tail, 1 - tail)
    return torch.sigmoid(t)


def mixture_likelihood(values: Tensor, parameters: Tensor, families: tuple[str, ...], components: int) -> Tensor:
    """Probability of each value's unit interval under its mixture.

    Args:
        values: (B, M, h, w) float; integers, or integers with uniform noise while training.
        parameters: (B, P, M, h, w) float. Number 3c, 3c + 1, 3c + 2 are weight logit, mean and raw scale of component
            c, which belongs to family c // components; with several families their logits follow. scale =
            softplus(raw) + 0.11.
        families: names out of `FAMILIES`.
        components: components per family.

    Returns:
        (B, M, h, w) float in [0, 1], not bounded from below.
    """
    count = components * len(families)
    parameters = parameters.float()
    by_component = parameters[:, : 3 * count].unflatten(1, (len(families), components, 3))
    weights = torch.softmax(by_component[:, :, :, 0], dim=2)
    if len(families) > 1:
        weights = weights * torch.softmax(parameters[:, 3 * count :], dim=1)[:, :, None]
    # By symmetry the interval is taken in the lower tail, where differences of a CDF keep their digits.
    distance = (values.float()[:, None, None] - by_component[:, :, :, 1]).abs()
    inverse = 1 / (functional.softplus(by_component[:, :, :, 2]) + SCALE_FLOOR)
    upper, lower = (0.5 - distance) * inverse, (-0.5 - distance) * inverse
    total = torch.zeros_like(values, dtype=torch.float32)
    for index, family in enumerate(families):
        interval = cumulative(family, upper[:, index]) - cumulative(family, lower[:, index])
        total = total + (weights[:, index] * interval).sum(1)
    return total
