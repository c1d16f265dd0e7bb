"""Transforms that students with a hyperprior have in common: g_a, h_a and g_s as graphs of a recipe.

Knows how symbols and pixels come out of the networks, and forms that engines run fast; knows no family. Weights are
rounded to what half precision holds.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastlic.export.graphs import round_to_half
from fastlic.export.integer.affine import phases_of
from fastlic.export.recipe import Transform
from fastlic.export.students.factorised import FactorisedPrior


class Analysis(Transform):
    """image -> y, once per output port, less `medians` where a prior codes it."""

    def __init__(self, g_a: nn.Module, outputs: int = 1, medians: Tensor | None = None) -> None:
        super().__init__()
        self.g_a, self.count = copy.deepcopy(g_a), outputs
        self.medians = None if medians is None else nn.Buffer(medians[:, None, None].clone())
        round_to_half(self.g_a)

    def values(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in `Transform.values`."""
        y = self.g_a(inputs[0][None])[0]
        return (y if self.medians is None else y - self.medians,) * self.count


class HyperAnalysis(Transform):
    """y -> z less its medians; h_a may see |y|."""

    def __init__(self, h_a: nn.Module, prior: FactorisedPrior, absolute: bool = False) -> None:
        super().__init__()
        self.h_a, self.absolute = copy.deepcopy(h_a), absolute
        self.medians = nn.Buffer(prior.medians()[:, None, None].clone())
        round_to_half(self.h_a)

    def values(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in `Transform.values`."""
        y = inputs[0].abs() if self.absolute else inputs[0]
        return (self.h_a(y[None])[0] - self.medians,)


class PhasedSynthesis(Transform):
    """y -> image by way of its four phases, which are shuffled as bytes."""

    def phases(self, y: Tensor) -> Tensor:
        """(C, h, w) -> (1, 12, H / 2, W / 2): levels and the half that rounds, (channel, row, column) of the phases."""
        raise TypeError(f"{type(self).__name__} does not say what it computes")

    def values(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in `Transform.values`."""
        return (functional.pixel_shuffle(self.phases(inputs[0]) - 0.5, 2)[0],)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """See `Transform.forward`."""
        levels = self.phases(inputs[0]).clamp(0, 255).to(torch.uint8)
        height, width = levels.shape[2:]
        return (levels.view(3, 2, 2, height, width).permute(3, 1, 4, 2, 0).reshape(2 * height, 2 * width, 3),)


class Synthesis(PhasedSynthesis):
    """y, with `medians` where a prior codes it, -> image.

    Transposed convolutions are evaluated as the convolutions of their four phases, which engines do faster.
    """

    def __init__(self, g_s: nn.Sequential, medians: Tensor | None = None) -> None:
        super().__init__()
        *body, last = by_phases(copy.deepcopy(g_s))
        self.medians = nn.Buffer(torch.zeros(1, 1, 1) if medians is None else medians[:, None, None].clone())
        assert isinstance(last, nn.Sequential)
        self.body, self.last = nn.Sequential(*body), last[0]
        scale_to_levels(self.last)
        round_to_half(self.body, self.last)

    def phases(self, y: Tensor) -> Tensor:
        """See `PhasedSynthesis.phases`."""
        found: Tensor = self.last(self.body((y.to(self.medians.dtype) + self.medians)[None]))
        return found


@torch.no_grad()
def scale_to_levels(last: nn.Module) -> None:
    """Make a last convolution that gives [0, 1] give levels and the half that rounds, in place."""
    last.get_parameter("weight").mul_(255)
    last.get_parameter("bias").mul_(255).add_(0.5)


def by_phases(network: nn.Sequential) -> nn.Sequential:
    """A network whose transposed convolutions of stride 2 are convolutions and pixel shuffles."""
    return nn.Sequential(
        *(
            nn.Sequential(phases_of(module), nn.PixelShuffle(2)) if isinstance(module, nn.ConvTranspose2d) else module
            for module in network
        )
    )
