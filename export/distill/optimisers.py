"""What turns gradients into steps: Adam, or SOAP for the transforms with Adam for the rest, behind one interface.

Knows parameters and their shapes; knows nothing of losses, nor of when rates change. SOAP is Adam in the eigenbasis of
Shampoo's preconditioner (Vyas et al. 2024), here from the package pytorch_optimizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from fastlic.errors import ConfigurationError

QUANTILE_RATE = 1e-3
# A preconditioner costs products with, and decompositions of, square matrices of a tensor's sides. Within these bounds
# lie the transforms and h_a: a fourth of an iteration more. The wide entropy networks would add one and a half.
LONGEST_SIDE = 256
MOST_ELEMENTS = 400_000


class Optimisers:
    """The optimisers of one run.

    Args:
        method: "adam" or "soap".
        trained: parameters of networks, at the run's rate.
        prior: those of the factorised prior, at a rate of their own.
        quantiles: those of its quantiles, at a fixed rate.

    Raises:
        ConfigurationError: "soap" without the package it comes from.
    """

    def __init__(
        self,
        method: str,
        trained: Sequence[nn.Parameter],
        prior: Sequence[nn.Parameter],
        quantiles: Sequence[nn.Parameter],
    ) -> None:
        preconditioned = [parameter for parameter in trained if method == "soap" and _pays(parameter)]
        chosen = {id(parameter) for parameter in preconditioned}
        rest = [parameter for parameter in trained if id(parameter) not in chosen]
        groups: list[dict[str, Any]] = [
            {"params": rest},
            {"params": prior},
            {"params": quantiles, "lr": QUANTILE_RATE},
        ]
        self._all: list[torch.optim.Optimizer] = [torch.optim.Adam(groups)]
        if preconditioned:
            self._all.append(_soap(preconditioned))

    def set_rates(self, networks: float, prior: float) -> None:
        """The learning rates of the coming steps."""
        adam, *others = self._all
        for group in (adam.param_groups[0], *(group for other in others for group in other.param_groups)):
            group["lr"] = networks
        adam.param_groups[1]["lr"] = prior

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimiser in self._all:
            optimiser.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Change the parameters by their gradients."""
        for optimiser in self._all:
            optimiser.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Tensors and plain values."""
        return [optimiser.state_dict() for optimiser in self._all]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Go on from what `state_dict` gave.

        Raises:
            ValueError: it is of other parameters, or of another method.
        """
        for optimiser, saved in zip(self._all, state, strict=True):
            optimiser.load_state_dict(saved)


def _pays(parameter: nn.Parameter) -> bool:
    return parameter.ndim > 1 and max(parameter.shape) <= LONGEST_SIDE and parameter.numel() <= MOST_ELEMENTS


def _soap(parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    try:
        from pytorch_optimizer import SOAP
    except ImportError as error:
        raise ConfigurationError(
            "optimiser.method: soap needs pytorch-optimizer. Install it: pip install 'fastlic[distill]', or choose adam"
        ) from error
    return SOAP(parameters, weight_decay=0.0)
