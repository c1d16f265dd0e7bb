"""Exponential moving average of a network's weights: what is watched, kept and shipped."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class Average(Generic[Network]):
    """Holds an averaged copy of `source`, `model`, in evaluation mode."""

    def __init__(self, source: Network, decay: float) -> None:
        self.model = copy.deepcopy(source).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, source: nn.Module, iteration: int) -> None:
        """Take in the weights after `iteration` (from 0); early ones count less, or the random start would linger."""
        decay = min(self.decay, (1 + iteration) / (10 + iteration))
        averaged, current = list(self.model.parameters()), list(source.parameters())
        torch._foreach_lerp_([p.data for p in averaged], [p.data for p in current], 1 - decay)
