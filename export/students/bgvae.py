"""BG-VAE: a hierarchical autoencoder of four stages and nine latents, one bundle for many rates.

Knows the networks and their key names; how they are cut into graphs is `bgvae_recipe`'s matter. Bottom up, features are
made at strides 8 to 64; top down, from a learnt constant at stride 64, each latent's Gaussian is predicted from the
state, the latent is coded, and cross-attention takes it into the state. Latents are integers, their means are not
subtracted. Source: Zhang et al. 2024, "Theoretical Bound-Guided Hierarchical VAE for Neural Image Codecs" and seed 003
(stages, latents, kinds of blocks); widths, and what a stage has of each block, are ours: docs/adding-a-student.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import torch
from torch import Tensor, nn

from fastlic.export.students.balanced import (
    BalancedConvNext,
    CrossAttention,
    RateEmbedding,
    RateGain,
    WaveletDown,
    WaveletUp,
)
from fastlic.export.students.fu2023 import Quantiser
from fastlic.export.students.likelihood import LIKELIHOOD_FLOOR, lower_bound, mixture_likelihood
from fastlic.export.students.settings import Configured, Odd, Width, require

if TYPE_CHECKING:
    from fastlic.export.recipe import Recipe

STRIDES = (64, 32, 16, 8)
"""Pixels per element, by stage, top down."""
GAUSSIAN = ("normal",)
FIRST_SCALE = 1.0

Lambda = Annotated[float, msgspec.Meta(gt=0)]


class BgVaeConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Widths and conventions of one student; field names are the keys of the JSON file.

    `widths`, `kernels`: of the state and its depth-wise convolutions, by stage, top down (strides 64 to 8);
    `latents`: coded channels per latent, by stage, as many numbers as the stage has latents; `lambdas`: of the rates,
    ascending: what the squared error on the 0-255 scale counted while training; `embedding`: width of their embedding.
    """

    widths: tuple[Width, Width, Width, Width]
    kernels: tuple[Odd, Odd, Odd, Odd]
    latents: tuple[tuple[Width, ...], tuple[Width, ...], tuple[Width, ...], tuple[Width, ...]]
    heads: Width
    expansion: Width
    embedding: Width
    lambdas: tuple[Lambda, ...]
    scale_activation: Literal["softplus(x) + 0.11"]
    input: Literal["RGB in [0, 1]"]

    def __post_init__(self) -> None:
        """Refuse values that contradict each other; raises `CheckpointError`."""
        require(all(self.latents), "latents", self.latents, "at least one latent per stage")
        require(all(kernel % 2 for kernel in self.kernels), "kernels", self.kernels, "odd")
        require(all(width % self.heads == 0 for width in self.widths), "widths", self.widths, "multiples of heads")
        ascending = all(a < b for a, b in zip(self.lambdas, self.lambdas[1:], strict=False))
        require(ascending and 2 <= len(self.lambdas) <= 64, "lambdas", self.lambdas, "2 to 64 ascending numbers")

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """(stage, channels) of each latent, in order of coding."""
        return tuple((stage, channels) for stage, numbers in enumerate(self.latents) for channels in numbers)


@dataclass(frozen=True)
class BgVaeCoded:
    """One evaluation: decoded picture (not clamped), the latents' likelihoods, and the weight of the rate it was for.

    `weight`: the rate's lambda over the smallest one, by which a loss multiplies its trade-off.
    """

    picture: Tensor
    found: tuple[Tensor, ...]
    weight: float

    def likelihoods(self) -> tuple[Tensor, ...]:
        """Of every latent, in order of coding."""
        return self.found


class BottomUp(nn.Module):
    """The picture's features at stride 8: (B, 3, H, W) -> (B, widths[3], H / 8, W / 8)."""

    def __init__(self, settings: BgVaeConfiguration) -> None:
        super().__init__()
        width = settings.widths[3]
        self.embedding = RateEmbedding(settings.lambdas, settings.embedding)
        self.down = nn.ModuleList([WaveletDown(3, width), WaveletDown(width, width), WaveletDown(width, width)])
        self.block = _block(settings, 3)

    def forward(self, picture: Tensor, rate: Tensor) -> Tensor:
        """Shapes in the class docstring; `rate` int (1,)."""
        x = picture - 0.5
        for down in self.down:
            x = down(x)
        return self.block(x, self.embedding(rate))


class Pyramid(nn.Module):
    """Coarser features: (B, widths[3], h, w) at stride 8 -> those of strides 16, 32 and 64."""

    def __init__(self, settings: BgVaeConfiguration) -> None:
        super().__init__()
        self.embedding = RateEmbedding(settings.lambdas, settings.embedding)
        stages = (2, 1, 0)
        self.down = nn.ModuleList(WaveletDown(settings.widths[s + 1], settings.widths[s]) for s in stages)
        self.blocks = nn.ModuleList(_block(settings, stage) for stage in stages)

    def forward(self, x: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shapes in the class docstring; `rate` int (1,)."""
        embedded, found = self.embedding(rate), []
        for down, block in zip(self.down, self.blocks, strict=True):
            x = block(down(x), embedded)
            found.append(x)
        return found[0], found[1], found[2]


class Prior(nn.Module):
    """The Gaussian of a latent from the state: (B, width, h, w) -> mean and raw scale, (B, 3, channels, h, w).

    The first of the three is a mixture's weight, which a single component does not need: zero. Both numbers grow with
    the gain of the rate.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(width, 2 * channels, 1)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias[:channels] = 0  # type: ignore[index]
            self.head.bias[channels:] = FIRST_SCALE  # type: ignore[index]

    def forward(self, state: Tensor, gain: Tensor) -> Tensor:
        """Shapes in the class docstring; `gain` (channels, 1, 1)."""
        numbers = self.head(state).unflatten(1, (2, -1)) * gain
        return torch.cat((torch.zeros_like(numbers[:, :1]), numbers), dim=1)


class Posterior(nn.Module):
    """What the encoder codes: state and features (B, width, h, w) -> latent (B, channels, h, w), before its gain."""

    def __init__(self, settings: BgVaeConfiguration, stage: int, channels: int) -> None:
        super().__init__()
        self.embedding = RateEmbedding(settings.lambdas, settings.embedding)
        self.fuse = CrossAttention(settings.widths[stage], settings.widths[stage], settings.heads)
        self.block = _block(settings, stage)
        self.head = nn.Conv2d(2 * settings.widths[stage], channels, 1)

    def forward(self, state: Tensor, features: Tensor, rate: Tensor) -> Tensor:
        """Shapes in the class docstring; `rate` int (1,)."""
        fused = self.block(self.fuse(state, features), self.embedding(rate))
        return self.head(torch.cat((fused, features), dim=1))


class Absorb(nn.Module):
    """The state after a latent, divided by its gain, is known, at the stride of the next one: doubled where `up`."""

    def __init__(self, settings: BgVaeConfiguration, stage: int, channels: int, up: int | None) -> None:
        super().__init__()
        width = settings.widths[stage]
        self.embedding = RateEmbedding(settings.lambdas, settings.embedding)
        self.enter = nn.Conv2d(channels, width, 1)
        self.fuse = CrossAttention(width, width, settings.heads)
        self.block = _block(settings, stage)
        self.up = WaveletUp(width, up) if up else nn.Identity()

    def forward(self, state: Tensor, latent: Tensor, rate: Tensor) -> Tensor:
        """State (B, width, h, w), latent (B, channels, h, w), rate int (1,)."""
        entered = self.enter(latent)
        return self.up(self.block(self.fuse(state + entered, entered), self.embedding(rate)))


class ToPicture(nn.Module):
    """(B, widths[3], h, w) at stride 8 -> (B, 3, 8h, 8w): three wavelets up."""

    def __init__(self, settings: BgVaeConfiguration) -> None:
        super().__init__()
        width = settings.widths[3]
        self.up = nn.ModuleList([WaveletUp(width, width), WaveletUp(width, width), WaveletUp(width, 3)])

    def forward(self, state: Tensor) -> Tensor:
        """Shapes in the class docstring; in [0, 1] but not clamped."""
        for number, up in enumerate(self.up):
            state = up(state if number == 0 else state * torch.sigmoid(state))
        return state + 0.5


class BgVae(Configured):
    """One student. B pictures of H x W, multiples of 64."""

    family = "bgvae"
    settings = BgVaeConfiguration
    multiple = 64

    def __init__(self, configuration: BgVaeConfiguration) -> None:
        super().__init__()
        self.configuration = configuration
        places = configuration.places
        self.bottom_up, self.pyramid = BottomUp(configuration), Pyramid(configuration)
        self.start = nn.Parameter(0.1 * torch.randn(configuration.widths[0], 1, 1))
        self.gains = nn.ModuleList(RateGain(configuration.lambdas, channels) for _, channels in places)
        self.priors = nn.ModuleList(Prior(configuration.widths[stage], channels) for stage, channels in places)
        self.posteriors = nn.ModuleList(Posterior(configuration, stage, channels) for stage, channels in places)
        after = [stage for stage, _ in places[1:]] + [places[-1][0]]
        self.absorb = nn.ModuleList(
            Absorb(configuration, stage, channels, configuration.widths[following] if following > stage else None)
            for (stage, channels), following in zip(places, after, strict=True)
        )
        self.to_picture = ToPicture(configuration)

    def first_state(self, like: Tensor) -> Tensor:
        """The learnt constant at every position of (.., h, w): (1, widths[0], h, w)."""
        return self.start.expand(-1, like.shape[-2], like.shape[-1])[None]

    def forward(
        self,
        picture: Tensor,
        quantise: Quantiser = torch.round,
        rate: Quantiser | None = None,
        number: int | None = None,
    ) -> BgVaeCoded:
        """Encode and decode.

        Args:
            picture: (B, 3, H, W) float in [0, 1], H and W multiples of 64.
            quantise: what the decoder sees of the latents; rounding, or straight-through rounding while training.
            rate: what likelihoods are taken of; None: of what the decoder sees. Uniform noise while training.
            number: of the rate asked for, from 1; None: a random one.
        """
        lambdas = self.configuration.lambdas
        chosen = int(torch.randint(len(lambdas), ())) + 1 if number is None else number
        selected = torch.tensor([chosen], dtype=torch.int32)
        finest = self.bottom_up(picture, selected)
        features = (*reversed(self.pyramid(finest, selected)), finest)
        state = self.first_state(features[0]).expand(len(picture), -1, -1, -1)
        likelihoods = []
        for place, (stage, _) in enumerate(self.configuration.places):
            gain = self.gains[place](selected)
            numbers = self.priors[place](state, gain)
            raw = self.posteriors[place](state, features[stage], selected) * gain
            seen = quantise(raw)
            found = mixture_likelihood(seen if rate is None else rate(raw), numbers, GAUSSIAN, 1)
            likelihoods.append(lower_bound(found, LIKELIHOOD_FLOOR))
            state = self.absorb[place](state, seen / gain, selected)
        return BgVaeCoded(self.to_picture(state), tuple(likelihoods), lambdas[chosen - 1] / lambdas[0])

    def recipe(self) -> Recipe:
        """How it becomes a bundle."""
        from fastlic.export.students.bgvae_recipe import recipe_of

        return recipe_of(self)


def _block(settings: BgVaeConfiguration, stage: int) -> BalancedConvNext:
    return BalancedConvNext(settings.widths[stage], settings.kernels[stage], settings.expansion, settings.embedding)
