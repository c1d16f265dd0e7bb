"""What FEDS and KDIC students share: convolutional transforms, a hyperprior, and one evaluation as a loss sees it.

Knows networks by their widths, and that y is coded part after part; how a part is predicted is each family's matter.
Source: seeds 000 and 002 (students are CNNs, whatever their teacher is); the layers are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from fastlic.export.integer.affine import Affine, Source
from fastlic.export.integer.program import Node, Program
from fastlic.export.recipe import Recipe
from fastlic.export.students.balle2018 import conv, deconv
from fastlic.export.students.factorised import FactorisedPrior
from fastlic.export.students.fu2023 import Quantiser
from fastlic.export.students.hyperprior import Parts, recipe_of
from fastlic.export.students.layers import ResidualBlock, conv3
from fastlic.export.students.likelihood import LIKELIHOOD_FLOOR, lower_bound
from fastlic.export.students.settings import Configured, Slope, Width

MULTIPLE = 64
FIRST_LEVELS = 8.0
"""What y is multiplied by when training begins."""


@dataclass(frozen=True)
class SlicedCoded:
    """One evaluation: decoded picture (not clamped), y before quantisation, likelihoods bounded by 1e-9."""

    picture: Tensor
    y: Tensor
    found: tuple[Tensor, ...]

    def likelihoods(self) -> tuple[Tensor, ...]:
        """Of z, then of the parts of y in order of coding."""
        return self.found


def analysis_network(n: int, m: int, slope: float) -> nn.Sequential:
    """(B, 3, H, W) -> (B, m, H / 16, W / 16)."""
    layers: list[nn.Module] = [conv(3, n)]
    for _ in range(2):
        layers += [ResidualBlock(n, slope), conv(n, n)]
    return nn.Sequential(*layers, ResidualBlock(n, slope), conv(n, m))


def synthesis_network(n: int, m: int, slope: float) -> nn.Sequential:
    """(B, m, h, w) -> (B, 3, 16h, 16w), in [0, 1] but not clamped."""
    layers: list[nn.Module] = [deconv(m, n)]
    for _ in range(2):
        layers += [ResidualBlock(n, slope), deconv(n, n)]
    return nn.Sequential(*layers, ResidualBlock(n, slope), deconv(n, 3))


class Hyperprior(nn.Module):
    """z (B, n, H / 64, W / 64) from y, and from z the features that every part of y is predicted from."""

    def __init__(self, n: int, m: int, features: int, slope: float) -> None:
        super().__init__()
        leaky = nn.LeakyReLU(slope)
        self.prior = FactorisedPrior(n)
        self.h_a = nn.Sequential(conv3(m, n), leaky, conv(n, n), leaky, conv(n, n))
        self.h_s = nn.Sequential(deconv(n, n), leaky, deconv(n, n), leaky, conv3(n, features))

    def forward(self, y: Tensor, rate: Quantiser | None) -> tuple[Tensor, Tensor]:
        """Y (B, m, h, w) -> features (B, features, h, w) and the likelihood of z."""
        z, medians = self.h_a(y), self.prior.medians()[:, None, None]
        seen = z + (torch.round(z - medians) + medians - z).detach()
        likelihood = self.prior.likelihood(seen if rate is None else rate(z))
        return self.h_s(seen), lower_bound(likelihood, LIKELIHOOD_FLOOR)


class SlicedConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What both families are told of: their widths and conventions.

    `N`: width of the transforms and of z; `M`: channels of y; `features`: width of what z says.
    """

    N: Width
    M: Width
    features: Width
    leaky_slope: Slope
    input: Literal["RGB in [0, 1]"]


class SlicedStudent(Configured):
    """A student whose y is coded part after part. B pictures of H x W, multiples of 64; y (B, M, H / 16, W / 16).

    Args:
        configuration: of the family.
        parts: channels of each part, in coding order; `ranges` has their first and last + 1.
    """

    multiple = MULTIPLE

    def __init__(self, configuration: SlicedConfiguration, parts: Sequence[int]) -> None:
        super().__init__()
        self.configuration = configuration
        n, m, slope = configuration.N, configuration.M, configuration.leaky_slope
        self.g_a, self.g_s = analysis_network(n, m, slope), synthesis_network(n, m, slope)
        self.hyper = Hyperprior(n, m, configuration.features, slope)
        enliven(slope, self.g_a, self.g_s, self.hyper)
        self.ranges = tuple(pairwise(accumulate(parts, initial=0)))

    def program(self) -> Program:
        """The entropy networks as stages."""
        raise TypeError(f"{type(self).__name__} does not say how y is coded")

    def recipe(self) -> Recipe:
        """How it becomes a bundle."""
        settings, hyper = self.configuration, self.hyper
        return recipe_of(Parts(settings.M, settings.N, self.g_a, hyper.h_a, self.g_s, hyper.prior, self.program()))


def enliven(slope: float, g_a: nn.Sequential, g_s: nn.Sequential, hyper: Hyperprior) -> None:
    """Initialise so that training starts: torch's default shrinks latents until all of them round to zero.

    Signals keep their size, residual branches begin small, y begins at several levels and the picture at grey.
    """
    for module in (*g_a.modules(), *g_s.modules(), *hyper.h_a.modules(), *hyper.h_s.modules()):
        if isinstance(module, nn.ConvTranspose2d):
            fan_in = module.weight[:, 0].numel() / module.stride[0] ** 2
        elif isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
        else:
            continue
        nn.init.normal_(module.weight, std=(2 / ((1 + slope**2) * fan_in)) ** 0.5)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        for module in (*g_a.modules(), *g_s.modules()):
            if isinstance(module, ResidualBlock):
                module.conv2.weight.mul_(0.1)
        g_a[-1].get_parameter("weight").mul_(FIRST_LEVELS)
        g_s[0].get_parameter("weight").div_(FIRST_LEVELS)
        g_s[-1].get_parameter("weight").mul_(0.1)
        g_s[-1].get_parameter("bias").fill_(0.5)


def reading(node: Node, maps: dict[str, int]) -> Node:
    """A layer that reads several maps instead of one concatenation of them.

    Args:
        node: whose only source has the channels of all maps, side by side.
        maps: name -> channels, in order.
    """
    (source,) = node.affine.sources
    ends = np.cumsum(list(maps.values()))[:-1]
    sources = tuple(Source(source.taps, weight) for weight in np.split(source.weight, ends, axis=1))
    return Node(Affine(node.name, sources, node.affine.bias), tuple(maps), node.slope, node.packed, node.onto)
