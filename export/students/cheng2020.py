"""Cheng et al.'s residual transforms with He et al.'s checkerboard context, in CompressAI's key names.

Knows the network and which stages code y: anchors from the hyper latent alone, then the others with a 5x5 context of
the anchors. The networks between are on the integer lattice; transforms are not.
Source: Cheng et al. 2020 (transforms, "anchor" variant), He et al. 2021 (checkerboard).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

import msgspec
from torch import Tensor, nn
from torch.nn import functional

from fastlic.export.integer.program import Hyper, Program
from fastlic.export.recipe import Recipe
from fastlic.export.students.balle2018 import widths_in
from fastlic.export.students.factorised import FactorisedPrior
from fastlic.export.students.hyperprior import CheckerboardGroup, Parts, chain, checkerboard_stages, recipe_of
from fastlic.export.students.layers import Gdn, ResidualBlock, conv3
from fastlic.export.students.settings import Width, read

SLOPE = 0.01


class Cheng2020Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`N`: width of everything, channels of y and z included."""

    N: Width


def subpixel_conv(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution and a pixel shuffle: doubles height and width."""
    return nn.Sequential(conv3(inputs, 4 * outputs), nn.PixelShuffle(2))


class Down(nn.Module):
    """gdn(conv2(LR(conv1(x)))) + skip(x), half the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = conv3(inputs, outputs, stride=2)
        self.conv2 = conv3(outputs, outputs)
        self.gdn = Gdn(outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h / 2, w / 2)."""
        inner: Tensor = self.gdn(self.conv2(functional.leaky_relu(self.conv1(x), SLOPE)))
        return inner + self.skip(x)


class Up(nn.Module):
    """igdn(conv(LR(subpel_conv(x)))) + upsample(x), twice the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.subpel_conv = subpixel_conv(inputs, outputs)
        self.conv = conv3(outputs, outputs)
        self.igdn = Gdn(outputs, inverse=True)
        self.upsample = subpixel_conv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, 2h, 2w)."""
        inner: Tensor = self.igdn(self.conv(functional.leaky_relu(self.subpel_conv(x), SLOPE)))
        return inner + self.upsample(x)


class Cheng2020Checkerboard(nn.Module):
    """One student; y has N channels and 1/16 of the picture's resolution."""

    family = "cheng2020-anchor-checkerboard"
    multiple = 64

    def __init__(self, configuration: Cheng2020Configuration) -> None:
        super().__init__()
        self.configuration = configuration
        n = configuration.N
        self.g_a = nn.Sequential(
            Down(3, n), ResidualBlock(n, SLOPE), Down(n, n), ResidualBlock(n, SLOPE), Down(n, n),
            ResidualBlock(n, SLOPE), conv3(n, n, stride=2),
        )  # fmt: skip
        self.g_s = nn.Sequential(
            ResidualBlock(n, SLOPE), Up(n, n), ResidualBlock(n, SLOPE), Up(n, n), ResidualBlock(n, SLOPE), Up(n, n),
            ResidualBlock(n, SLOPE), subpixel_conv(n, 3),
        )  # fmt: skip
        h_a = nn.Sequential(
            conv3(n, n), nn.LeakyReLU(), conv3(n, n), nn.LeakyReLU(), conv3(n, n, 2), nn.LeakyReLU(), conv3(n, n),
            nn.LeakyReLU(), conv3(n, n, 2),
        )  # fmt: skip
        wide = n * 3 // 2
        h_s = nn.Sequential(
            conv3(n, n), nn.LeakyReLU(), subpixel_conv(n, n), nn.LeakyReLU(), conv3(n, wide), nn.LeakyReLU(),
            subpixel_conv(wide, wide), nn.LeakyReLU(), conv3(wide, 2 * n),
        )  # fmt: skip
        parameters = nn.Sequential(
            nn.Conv2d(4 * n, n * 10 // 3, 1), nn.LeakyReLU(), nn.Conv2d(n * 10 // 3, n * 8 // 3, 1), nn.LeakyReLU(),
            nn.Conv2d(n * 8 // 3, 2 * n, 1),
        )  # fmt: skip
        self.latent_codec = nn.ModuleDict(
            {
                "y": nn.ModuleDict(
                    {"entropy_parameters": parameters, "context_prediction": nn.Conv2d(n, 2 * n, 5, padding=2)}
                ),
                "hyper": nn.ModuleDict({"entropy_bottleneck": FactorisedPrior(n), "h_a": h_a, "h_s": h_s}),
            }
        )

    @classmethod
    def from_configuration(cls, raw: Mapping[str, Any]) -> Self:
        """Build an untrained student from a parsed JSON configuration; raises `CheckpointError`."""
        return cls(read(Cheng2020Configuration, raw))

    @staticmethod
    def widths_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The whole configuration, as far as the tensors show it."""
        return widths_in(state, {"N": "g_a.0.conv1.weight"})

    def parts(self) -> Parts:
        """The networks, with the stages that code y."""
        n, codec = self.configuration.N, self.latent_codec.get_submodule
        prior = cast(FactorisedPrior, codec("hyper.entropy_bottleneck"))
        entry = Hyper("z_hat", "z", prior.medians().double().numpy())
        features = chain("h_s", codec("hyper.h_s"), entry.name, last=1.0)
        group = CheckerboardGroup("y", (0, n), codec("y.context_prediction"), codec("y.entropy_parameters"))
        stages = checkerboard_stages(group, features[-1].name, None, (entry,), tuple(features))
        return Parts(n, n, self.g_a, codec("hyper.h_a"), self.g_s, prior, Program(stages))

    def recipe(self) -> Recipe:
        """How it becomes a bundle."""
        return recipe_of(self.parts())
