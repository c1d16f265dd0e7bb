"""The student of Fu et al. 2023: deformable transforms, checkerboard context, mixture entropy model.

Knows the networks and their key names; quantisation while training is passed in, exactness and files are not its
matter. Configurations 1 to 4 differ in `attention`, `residual_blocks` and widths; positions of omitted modules stay
free, so that all share key names.
Source: Fu et al. 2023, "Fast and High-Performance Learned Image Compression With Improved Checkerboard Context Model,
Deformable Residual Module, and Knowledge Distillation".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastlic.export.students.checkerboard import pack, unpack
from fastlic.export.students.configuration import Fu2023Configuration
from fastlic.export.students.factorised import FactorisedPrior
from fastlic.export.students.layers import (
    Attention,
    DrmDown,
    DrmUp,
    PositionedSequential,
    ResidualBlock,
    SubPixelConv,
    conv3,
)
from fastlic.export.students.likelihood import FAMILIES, LIKELIHOOD_FLOOR, lower_bound, mixture_likelihood

if TYPE_CHECKING:
    from fastlic.export.recipe import Recipe

COMPONENTS = 3
ANCHOR_NUMBERS = 3 * COMPONENTS * len(FAMILIES) + len(FAMILIES)
NONANCHOR_NUMBERS = 3 * COMPONENTS
WIDE_SCALE = 3.0

Quantiser = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Coded:
    """What one evaluation of a student gives, for a loss or for figures.

    Likelihoods are bounded from below by 1e-9. `anchor_parameters` (B, 30, M, h, w / 2) and `nonanchor_parameters` (B,
    9, M, h, w / 2) are the mixtures' raw numbers.
    """

    picture: Tensor
    y: Tensor
    z: Tensor
    z_likelihood: Tensor
    anchor_likelihood: Tensor
    nonanchor_likelihood: Tensor
    anchor_parameters: Tensor
    nonanchor_parameters: Tensor

    def likelihoods(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of z, anchors and non-anchors."""
        return self.z_likelihood, self.anchor_likelihood, self.nonanchor_likelihood


class Context(nn.Conv2d):
    """A 5x5 convolution of which only the taps of the other parity, i + j odd, are alive."""

    alive: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 5, padding=2)
        taps = torch.arange(5)
        self.register_buffer("alive", ((taps[:, None] + taps) % 2).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w), zero at non-anchors -> (B, outputs, h, w)."""
        return functional.conv2d(x, self.weight * self.alive, self.bias, padding=2)


def _pen(inputs: int, hidden: tuple[int, ...], outputs: int, slope: float) -> nn.Sequential:
    """A pointwise parameter network with a leaky ReLU between its layers."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Conv2d(inputs, width, 1), nn.LeakyReLU(slope)]
        inputs = width
    return nn.Sequential(*layers, nn.Conv2d(inputs, outputs, 1))


class Fu2023(nn.Module):
    """One student. B pictures of H x W, multiples of 64; the latent has h = H / 16, w = W / 16, and M channels."""

    family = "fu2023"
    multiple = 64

    def __init__(self, configuration: Fu2023Configuration) -> None:
        super().__init__()
        self.configuration = configuration
        n, m, hyper = configuration.N, configuration.M, configuration.hyper_channels
        slope, wide = configuration.leaky_slope, configuration.M * 3 // 2

        def optional(attention: Mapping[int, int], blocks: Mapping[int, int]) -> dict[int, nn.Module]:
            found: dict[int, nn.Module] = {}
            if configuration.attention:
                found |= {position: Attention(width, slope) for position, width in attention.items()}
            if configuration.residual_blocks:
                found |= {position: ResidualBlock(width, slope) for position, width in blocks.items()}
            return found

        self.g_a = PositionedSequential(
            {0: DrmDown(3, n, slope), 2: DrmDown(n, n, slope), 5: DrmDown(n, n, slope), 7: conv3(n, m, 2)}
            | optional({3: n, 8: m}, {1: n, 4: n, 6: n})
        )
        self.g_s = PositionedSequential(
            {
                2: DrmUp(m, n, slope),
                4: DrmUp(n, n, slope),
                7: DrmUp(n, n, slope),
                9: conv3(n, 12),
                10: nn.PixelShuffle(2),
            }
            | optional({0: m, 5: n}, {1: m, 3: n, 6: n, 8: n})
        )
        leaky = nn.LeakyReLU(slope)
        self.h_a = nn.Sequential(
            conv3(m, hyper), leaky, conv3(hyper, hyper), leaky, conv3(hyper, hyper, 2), leaky,
            conv3(hyper, hyper), leaky, conv3(hyper, hyper, 2),
        )  # fmt: skip
        self.h_s = nn.Sequential(
            conv3(hyper, m), leaky, SubPixelConv(m, m), leaky, conv3(m, wide), leaky,
            SubPixelConv(wide, wide), leaky, conv3(wide, 2 * m),
        )  # fmt: skip
        self.context = Context(m, 2 * m)
        self.pen_anchor = _pen(2 * m, configuration.pen_hidden, ANCHOR_NUMBERS * m, slope)
        self.pen_nonanchor = _pen(4 * m, configuration.pen_hidden, NONANCHOR_NUMBERS * m, slope)
        self.entropy_bottleneck = FactorisedPrior(hyper)
        self._initialise(slope)

    def _initialise(self, slope: float) -> None:
        """Start where training does not collapse: a hyper latent of several levels, and wide mixtures."""
        for module in (*self.h_a.modules(), *self.h_s.modules()):
            if isinstance(module, nn.Conv2d):
                # The default of torch shrinks the signal at each layer, until z rounds to zero and is never used again.
                nn.init.kaiming_normal_(module.weight, a=slope)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        for pen in (self.pen_anchor, self.pen_nonanchor):
            numbers = dict(pen[-1].named_parameters())["bias"].detach().view(-1, self.configuration.M)
            scales = 3 * torch.arange(numbers.shape[0] // 3) + 2
            numbers[scales[scales < 3 * COMPONENTS * len(FAMILIES)]] = WIDE_SCALE

    @classmethod
    def from_configuration(cls, raw: Mapping[str, Any]) -> Fu2023:
        """Build an untrained student from a parsed JSON configuration.

        Raises:
            CheckpointError: see `Fu2023Configuration.from_mapping`.
        """
        return cls(Fu2023Configuration.from_mapping(raw))

    @staticmethod
    def widths_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The part of a configuration that tensors show, as far as they show it.

        Args:
            state: a state dict of any configuration; foreign ones give an empty or partial answer.

        Returns:
            Values by configuration key.
        """
        hidden: list[int | None] = []
        while f"pen_anchor.{2 * len(hidden) + 2}.weight" in state:
            hidden.append(_length(state, f"pen_anchor.{2 * len(hidden)}.weight"))
        seen = {
            "N": _length(state, "g_a.0.conv.weight"),
            "M": _length(state, "g_a.7.weight"),
            "hyper_channels": _length(state, "h_a.8.weight"),
            "pen_hidden": hidden or None,
            "attention": any(key.startswith("g_s.5.") for key in state),
            "residual_blocks": any(key.startswith("g_s.6.") for key in state),
        }
        return {key: value for key, value in seen.items() if value is not None}

    def recipe(self) -> Recipe:
        """How it becomes a bundle."""
        from fastlic.export.students.fu2023_recipe import recipe_of

        return recipe_of(self)

    def z_on_grid(self, z: Tensor) -> Tensor:
        """Round z (B, hyper, h / 4, w / 4) to the integers around each channel's median; straight-through gradient."""
        medians = self.entropy_bottleneck.medians()[:, None, None]
        return z + (torch.round(z - medians) + medians - z).detach()

    def anchor_parameters(self, hyper: Tensor) -> Tensor:
        """(B, 2M, h, w) from h_s -> (B, 30, M, h, w / 2), packed at the anchors."""
        raw = self.pen_anchor(pack(hyper, self.configuration.parity))
        return raw.unflatten(1, (ANCHOR_NUMBERS, self.configuration.M))

    def nonanchor_parameters(self, hyper: Tensor, anchors: Tensor) -> Tensor:
        """(B, 2M, h, w) from h_s and (B, M, h, w), zero at non-anchors -> (B, 9, M, h, w / 2), packed non-anchors."""
        parity = 1 - self.configuration.parity
        both = torch.cat((pack(hyper, parity), pack(self.context(anchors), parity)), dim=1)
        return self.pen_nonanchor(both).unflatten(1, (NONANCHOR_NUMBERS, self.configuration.M))

    def forward(self, picture: Tensor, quantise: Quantiser = torch.round, rate: Quantiser | None = None) -> Coded:
        """Encode and decode.

        Args:
            picture: (B, 3, H, W) float in [0, 1], H and W multiples of 64.
            quantise: what the decoder sees of y; rounding, or straight-through rounding while training.
            rate: what likelihoods are taken of, for y and z; None: the same as `quantise`, and z on its grid. Uniform
                noise while training.

        Returns:
            Everything a loss needs; `picture` (B, 3, H, W) is not clamped.
        """
        y = self.g_a(picture)
        z_raw = self.h_a(y)
        y_seen = quantise(y)
        z_seen = self.z_on_grid(z_raw)
        y_rated = y_seen if rate is None else rate(y)
        hyper = self.h_s(z_seen)
        parity = self.configuration.parity
        for_anchors = self.anchor_parameters(hyper)
        for_nonanchors = self.nonanchor_parameters(hyper, unpack(pack(y_seen, parity), parity))
        z_likelihood = self.entropy_bottleneck.likelihood(z_seen if rate is None else rate(z_raw))
        anchor = mixture_likelihood(pack(y_rated, parity), for_anchors, FAMILIES, COMPONENTS)
        nonanchor = mixture_likelihood(pack(y_rated, 1 - parity), for_nonanchors, FAMILIES[:1], COMPONENTS)
        return Coded(
            picture=self.g_s(y_seen),
            y=y,
            z=z_seen,
            z_likelihood=lower_bound(z_likelihood, LIKELIHOOD_FLOOR),
            anchor_likelihood=lower_bound(anchor, LIKELIHOOD_FLOOR),
            nonanchor_likelihood=lower_bound(nonanchor, LIKELIHOOD_FLOOR),
            anchor_parameters=for_anchors,
            nonanchor_parameters=for_nonanchors,
        )


def _length(state: Mapping[str, Tensor], key: str) -> int | None:
    return int(state[key].shape[0]) if key in state and state[key].ndim else None
