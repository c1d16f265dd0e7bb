"""ILC: an invertible encoding module with a factorised prior; the decoder is the encoder run backwards.

Knows the network, its key names and its recipe; single layers are `invertible`'s matter. Each level is a Haar wavelet,
then `couplings` times a 1x1 invertible convolution and an affine coupling. After the last level the channels are split
1:2 into y, which is coded, and z, which the decoder replaces by its mode, zero.
Source: seed 004 (levels, layers, splits, mode); widths and the bound of the scales are ours.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import msgspec
import torch
from torch import Tensor, nn

from fastlic.export.gaussian import prior_bits
from fastlic.export.graphs import round_to_half
from fastlic.export.recipe import PICTURE, Arrays, Entropy, FloatGraph, Recipe, Tensors, Transform
from fastlic.export.students.factorised import FactorisedPrior
from fastlic.export.students.fu2023 import Quantiser
from fastlic.export.students.invertible import Coupling, Haar, Invertible, InvertibleConv
from fastlic.export.students.likelihood import LIKELIHOOD_FLOOR, lower_bound
from fastlic.export.students.settings import Configured, Odd, Width, require
from fastlic.export.tables import prior_rows
from fastlic.runtime.manifest import Code, Latent, Run


class IlcConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Widths and conventions of one student; field names are the keys of the JSON file.

    `kernels` and `hidden`: K and hidden width of the coupling functions, by level; `couplings`: per level; `bound`: of
    the logarithm of a coupling's scale; `gain`: factor on pictures in [0, 1] before the first level, 0.5 being
    subtracted first.
    """

    kernels: tuple[Odd, ...]
    hidden: tuple[Width, ...]
    couplings: Annotated[int, msgspec.Meta(ge=1, le=16)]
    bound: Annotated[float, msgspec.Meta(gt=0, le=4)]
    gain: Annotated[float, msgspec.Meta(gt=0, le=1024)]
    prior: Literal["deep factorised (CompressAI key names)"]

    def __post_init__(self) -> None:
        """Refuse values that contradict each other; raises `CheckpointError`."""
        require(1 <= len(self.kernels) <= 4, "kernels", self.kernels, "a list of 1 to 4 sizes, one per level")
        require(all(kernel % 2 for kernel in self.kernels), "kernels", self.kernels, "odd")
        require(len(self.hidden) == len(self.kernels), "hidden", self.hidden, "as many widths as there are kernels")

    @property
    def stride(self) -> int:
        """Pixels per element of y."""
        return int(1 << len(self.kernels))

    @property
    def channels(self) -> int:
        """Of y: a third of what the wavelets make of three."""
        return int(4 ** len(self.kernels))


@dataclass(frozen=True)
class IlcCoded:
    """One evaluation: decoded picture (not clamped), y before quantisation, likelihoods bounded by 1e-9."""

    picture: Tensor
    y: Tensor
    y_likelihood: Tensor

    def likelihoods(self) -> tuple[Tensor, ...]:
        """Of everything that is coded."""
        return (self.y_likelihood,)


class Ilc(Configured):
    """One student. B pictures of H x W, multiples of 16; y has h = H / stride, w = W / stride."""

    family = "ilc"
    settings = IlcConfiguration
    multiple = 16

    def __init__(self, configuration: IlcConfiguration) -> None:
        super().__init__()
        self.configuration = configuration
        layers: list[nn.Module] = []
        channels = 3
        for kernel, hidden in zip(configuration.kernels, configuration.hidden, strict=True):
            layers.append(Haar(channels))
            channels *= 4
            for _ in range(configuration.couplings):
                layers += [InvertibleConv(channels), Coupling(channels, kernel, hidden, configuration.bound)]
        self.layers = nn.ModuleList(layers)
        self.entropy_bottleneck = FactorisedPrior(configuration.channels)

    def encode(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [0, 1] -> y (B, C, h, w) and z (B, 2 C, h, w), before quantisation."""
        x = (picture - 0.5) * self.configuration.gain
        for layer in self.layers:
            x = layer(x)
        channels = self.configuration.channels
        return x[:, :channels], x[:, channels:]

    def inverse(self, *, fixed: bool = False) -> IlcInverse:
        """The decoder, of the same weights. `fixed`: its 1x1 convolutions are inverted once and for all."""
        return IlcInverse(self, fixed)

    def forward(self, picture: Tensor, quantise: Quantiser = torch.round, rate: Quantiser | None = None) -> IlcCoded:
        """Encode and decode.

        Args:
            picture: (B, 3, H, W) float in [0, 1].
            quantise: what the decoder sees of y minus its median.
            rate: what likelihoods are taken of; None: of what the decoder sees. Uniform noise while training.
        """
        y, _ = self.encode(picture)
        medians = self.entropy_bottleneck.medians()[:, None, None]
        seen = quantise(y - medians) + medians
        likelihood = self.entropy_bottleneck.likelihood(seen if rate is None else rate(y))
        return IlcCoded(
            picture=self.inverse()(seen),
            y=y,
            y_likelihood=lower_bound(likelihood, LIKELIHOOD_FLOOR),
        )

    def recipe(self) -> Recipe:
        """How it becomes a bundle. Encoder and decoder have the same weights, so rounding them keeps the inverse."""
        settings = self.configuration
        rounded = copy.deepcopy(self)
        round_to_half(rounded.layers)
        y = Tensors("y", settings.stride, settings.channels, "latent")
        return Recipe(
            multiple=self.multiple,
            latents={"y": Latent(settings.channels, settings.stride, channel_map=True)},
            analysis=(Run("analysis", (PICTURE.name,), ("y",)),),
            schedule=(Code("y", "prior", (0, settings.channels)), Run("synthesis", ("y",), (PICTURE.name,))),
            transforms={
                "analysis": FloatGraph(_Analysis(rounded), (PICTURE,), (y,)),
                "synthesis": FloatGraph(_Synthesis(rounded), (y,), (PICTURE,)),
            },
            entropy=self._entropy,
        )

    def _entropy(self, _samples: Sequence[Arrays]) -> Entropy:
        prior = self.entropy_bottleneck
        return Entropy({"prior": prior_rows(prior)}, lambda tensors: prior_bits(prior, tensors["y"]))


class IlcInverse(nn.Module):
    """The encoding module backwards, z being zero: (B, C, h, w) -> (B, 3, H, W), in [0, 1] but not clamped."""

    def __init__(self, model: Ilc, fixed: bool) -> None:
        super().__init__()
        self.gain = model.configuration.gain
        backwards = [cast(Invertible, layer) for layer in reversed(model.layers)]
        self.layers = nn.ModuleList(layer.inverted(fixed=fixed) for layer in backwards)

    def forward(self, y: Tensor, z: Tensor | None = None) -> Tensor:
        """Decode y (B, C, h, w); z (B, 2 C, h, w), zero where it is not given."""
        rest = torch.zeros_like(y).repeat(1, 2, 1, 1) if z is None else z
        x = torch.cat((y, rest), dim=1)
        for layer in self.layers:
            x = layer(x)
        return x / self.gain + 0.5


class _Analysis(Transform):
    """image -> y, its medians subtracted."""

    def __init__(self, model: Ilc) -> None:
        super().__init__()
        self.model = model
        self.medians = nn.Buffer(model.entropy_bottleneck.medians()[:, None, None].clone())

    def values(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in `Transform.values`."""
        return (self.model.encode(inputs[0][None])[0][0] - self.medians,)


class _Synthesis(Transform):
    """y -> image: the inverse layers, 1x1 convolutions inverted once and for all."""

    def __init__(self, model: Ilc) -> None:
        super().__init__()
        self.inverse = model.inverse(fixed=True)
        self.medians = nn.Buffer(model.entropy_bottleneck.medians()[:, None, None].clone())

    def values(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in `Transform.values`."""
        return (255 * self.inverse((inputs[0].to(self.medians.dtype) + self.medians)[None])[0],)
