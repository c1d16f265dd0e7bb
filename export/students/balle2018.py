"""Three students of 5x5 convolutions and GDN: factorised prior, scale hyperprior, mean and scale hyperprior.

Knows the networks, CompressAI's key names of them, and which stages code y. Quantisation while training is not their
matter: these are trained elsewhere.
Source: Balle et al. 2018 (factorised prior, hyperprior), Minnen et al. 2018 (means).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import msgspec
from torch import Tensor, nn

from fastlic.export.integer.program import Hyper, Program, Stage
from fastlic.export.recipe import Recipe
from fastlic.export.students.factorised import FactorisedPrior
from fastlic.export.students.hyperprior import Parts, chain, factorised_recipe, numbers_of, recipe_of
from fastlic.export.students.layers import Gdn
from fastlic.export.students.settings import Width, read


class Widths(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`N`: width of the transforms; `M`: channels of y."""

    N: Width
    M: Width


def conv(inputs: int, outputs: int, kernel: int = 5, stride: int = 2) -> nn.Conv2d:
    """Divides the resolution by `stride`."""
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2)


def deconv(inputs: int, outputs: int, kernel: int = 5, stride: int = 2) -> nn.ConvTranspose2d:
    """Multiplies the resolution by `stride`."""
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, output_padding=stride - 1)


def widths_in(state: Mapping[str, Tensor], keys: Mapping[str, str]) -> dict[str, Any]:
    """Output channels of named weights, by configuration key, as far as the state has them."""
    return {name: int(state[key].shape[0]) for name, key in keys.items() if key in state and state[key].ndim}


class FactorisedBalle2018(nn.Module):
    """y is coded by a factorised prior alone."""

    family = "bmshj2018-factorized"
    multiple = 16

    def __init__(self, configuration: Widths) -> None:
        super().__init__()
        self.configuration = configuration
        n, m = configuration.N, configuration.M
        self.g_a = nn.Sequential(conv(3, n), Gdn(n), conv(n, n), Gdn(n), conv(n, n), Gdn(n), conv(n, m))
        self.g_s = nn.Sequential(
            deconv(m, n), Gdn(n, inverse=True), deconv(n, n), Gdn(n, inverse=True), deconv(n, n), Gdn(n, inverse=True),
            deconv(n, 3),
        )  # fmt: skip
        self.entropy_bottleneck = FactorisedPrior(self.prior_channels())

    def prior_channels(self) -> int:
        """Channels of what the prior codes."""
        return self.configuration.M

    @classmethod
    def from_configuration(cls, raw: Mapping[str, Any]) -> Self:
        """Build an untrained student from a parsed JSON configuration; raises `CheckpointError`."""
        return cls(read(Widths, raw))

    @staticmethod
    def widths_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The whole configuration, as far as the tensors show it."""
        return widths_in(state, {"N": "g_a.0.weight", "M": "g_a.6.weight"})

    def recipe(self) -> Recipe:
        """How it becomes a bundle."""
        return factorised_recipe(self.g_a, self.g_s, self.entropy_bottleneck)


class HyperpriorBalle2018(FactorisedBalle2018):
    """Scales of y come from a hyper latent; means are zero."""

    family = "bmshj2018-hyperprior"
    multiple = 64

    def __init__(self, configuration: Widths) -> None:
        super().__init__(configuration)
        n, m = configuration.N, configuration.M
        self.h_a = nn.Sequential(conv(m, n, 3, 1), nn.ReLU(), conv(n, n), nn.ReLU(), conv(n, n))
        self.h_s = nn.Sequential(deconv(n, n), nn.ReLU(), deconv(n, n), nn.ReLU(), conv(n, m, 3, 1), nn.ReLU())

    def prior_channels(self) -> int:
        """Channels of z."""
        return self.configuration.N

    def parts(self) -> Parts:
        """The networks, with the stages that code y.

        The last ReLU is left out: a negative scale is the smallest level all the same.
        """
        return self._parts(self.h_s[:-1], means=False, absolute=True)

    def _parts(self, h_s: nn.Module, *, means: bool, absolute: bool) -> Parts:
        """One stage: h_s gives the numbers of all of y at once."""
        n, m, prior = self.configuration.N, self.configuration.M, self.entropy_bottleneck
        entry = Hyper("z_hat", "z", prior.medians().double().numpy())
        *nodes, last = chain("h_s", h_s, entry.name, last=None)
        stage = Stage("hyper", (entry,), (*nodes, numbers_of(last, m)), "y", (0, m), means=means)
        return Parts(m, n, self.g_a, self.h_a, self.g_s, prior, Program((stage,)), absolute)

    def recipe(self) -> Recipe:
        """How it becomes a bundle."""
        return recipe_of(self.parts())


class MeanScaleMinnen2018(HyperpriorBalle2018):
    """Means and scales of y come from a hyper latent."""

    family = "mbt2018-mean"

    def __init__(self, configuration: Widths) -> None:
        super().__init__(configuration)
        n, m = configuration.N, configuration.M
        self.h_a = nn.Sequential(conv(m, n, 3, 1), nn.LeakyReLU(), conv(n, n), nn.LeakyReLU(), conv(n, n))
        self.h_s = nn.Sequential(
            deconv(n, m), nn.LeakyReLU(), deconv(m, m * 3 // 2), nn.LeakyReLU(), conv(m * 3 // 2, 2 * m, 3, 1)
        )

    def parts(self) -> Parts:
        """The networks, with the stages that code y."""
        return self._parts(self.h_s, means=True, absolute=False)
