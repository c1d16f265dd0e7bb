"""ELIC: uneven channel groups, each coded in two halves of a checkerboard, in CompressAI's key names.

Knows the network and which stages code y: per group the anchors, from hyper features and a context of all earlier
groups, then the others, with a 5x5 context of the group's anchors besides. The networks between are on the integer
lattice; transforms are not.
Source: He et al. 2022 (groups, parameter aggregation, transforms), Cheng et al. 2020 (attention).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any, Self, cast

import msgspec
import torch
from torch import Tensor, nn

from fastlic.export.integer.program import Entry, Hyper, Joined, Node, Program, Shifted, Stage
from fastlic.export.recipe import Recipe
from fastlic.export.students.balle2018 import conv, deconv, widths_in
from fastlic.export.students.factorised import FactorisedPrior
from fastlic.export.students.hyperprior import CheckerboardGroup, Parts, chain, checkerboard_stages, recipe_of
from fastlic.export.students.layers import conv3
from fastlic.export.students.settings import Width, read, require

CONTEXT_WIDTHS = (224, 128)
"""Hidden widths of every channel context."""


class Elic2022Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`N`: width of the transforms and of z; `M`: channels of y; `groups`: how they are divided, in coding order."""

    N: Width
    M: Width
    groups: tuple[Width, ...]

    def __post_init__(self) -> None:
        """Refuse values that contradict each other; raises `CheckpointError`."""
        require(sum(self.groups) == self.M, "groups", self.groups, f"as many channels together as y has, {self.M}")


class Bottleneck(nn.Module):
    """x + conv3(R(conv2(R(conv1(x))))), half the channels inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(channels, half, 1)
        self.conv2 = conv3(half, half)
        self.conv3 = nn.Conv2d(half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape."""
        inner: Tensor = self.conv3(torch.relu(self.conv2(torch.relu(self.conv1(x)))))
        return x + inner


class Unit(nn.Module):
    """R(x + conv(x)), half the channels inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv = nn.Sequential(
            nn.Conv2d(channels, half, 1), nn.ReLU(), conv3(half, half), nn.ReLU(), nn.Conv2d(half, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape."""
        return torch.relu(x + self.conv(x))


class Attention(nn.Module):
    """x + conv_a(x) * sigmoid(conv_b(x))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_a = nn.Sequential(*(Unit(channels) for _ in range(3)))
        self.conv_b = nn.Sequential(*(Unit(channels) for _ in range(3)), nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape."""
        gated: Tensor = self.conv_a(x) * torch.sigmoid(self.conv_b(x))
        return x + gated


class Elic2022(nn.Module):
    """One student; y has M channels in groups and 1/16 of the picture's resolution."""

    family = "elic2022"
    multiple = 64

    def __init__(self, configuration: Elic2022Configuration) -> None:
        super().__init__()
        self.configuration = configuration
        n, m, groups = configuration.N, configuration.M, configuration.groups

        def blocks() -> list[nn.Module]:
            return [Bottleneck(n) for _ in range(3)]

        self.g_a = nn.Sequential(
            conv(3, n), *blocks(), conv(n, n), *blocks(), Attention(n), conv(n, n), *blocks(), conv(n, m), Attention(m)
        )
        self.g_s = nn.Sequential(
            Attention(m), deconv(m, n), *blocks(), deconv(n, n), Attention(n), *blocks(), deconv(n, n), *blocks(),
            deconv(n, 3),
        )  # fmt: skip
        h_a = nn.Sequential(conv(m, n, 3, 1), nn.ReLU(), conv(n, n), nn.ReLU(), conv(n, n))
        h_s = nn.Sequential(deconv(n, n), nn.ReLU(), deconv(n, n * 3 // 2), nn.ReLU(), deconv(n * 3 // 2, 2 * n, 3, 1))
        before = list(accumulate(groups, initial=0))
        contexts = {f"y{k}": _channel_context(before[k], 2 * groups[k]) for k in range(1, len(groups))}
        codecs = {f"y{k}": _group(groups[k], n, context=k > 0) for k in range(len(groups))}
        y = {"channel_context": nn.ModuleDict(contexts), "latent_codec": nn.ModuleDict(codecs)}
        hyper = {"entropy_bottleneck": FactorisedPrior(n), "h_a": h_a, "h_s": h_s}
        self.latent_codec = nn.ModuleDict({"y": nn.ModuleDict(y), "hyper": nn.ModuleDict(hyper)})

    @classmethod
    def from_configuration(cls, raw: Mapping[str, Any]) -> Self:
        """Build an untrained student from a parsed JSON configuration; raises `CheckpointError`."""
        return cls(read(Elic2022Configuration, raw))

    @staticmethod
    def widths_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The whole configuration, as far as the tensors show it."""
        seen = widths_in(state, {"N": "g_a.0.weight", "M": "g_a.13.weight"})
        groups: list[int] = []
        while (key := f"latent_codec.y.latent_codec.y{len(groups)}.context_prediction.weight") in state:
            groups.append(int(state[key].shape[1]) if state[key].ndim > 1 else 0)
        return {**seen, "groups": groups} if groups else seen

    def parts(self) -> Parts:
        """The networks, with the stages that code y."""
        settings, codec = self.configuration, self.latent_codec.get_submodule
        prior = cast(FactorisedPrior, codec("hyper.entropy_bottleneck"))
        entry = Hyper("z_hat", "z", prior.medians().double().numpy())
        features = chain("h_s", codec("hyper.h_s"), entry.name, last=1.0)
        entries: tuple[Entry, ...] = (entry,)
        nodes: tuple[Node, ...] = tuple(features)
        stages: tuple[Stage, ...] = ()
        seen: str | None = None
        ranges = list(pairwise(accumulate(settings.groups, initial=0)))
        for k, channels in enumerate(ranges):
            context: str | None = None
            if k:
                latest = Shifted(f"y_hat_{k - 1}", "y", ranges[k - 1], tuple(stage.name for stage in stages[-2:]))
                entries, seen = _with(latest, seen, k)
                layers = chain(f"channel_context.y{k}", codec(f"y.channel_context.y{k}"), seen, last=1.0)
                nodes, context = tuple(layers), layers[-1].name
            modules = codec(f"y.latent_codec.y{k}").get_submodule
            group = CheckerboardGroup(f"y{k}", channels, modules("context_prediction"), modules("entropy_parameters"))
            stages += checkerboard_stages(group, features[-1].name, context, entries, nodes)
        return Parts(settings.M, settings.N, self.g_a, codec("hyper.h_a"), self.g_s, prior, Program(stages))

    def recipe(self) -> Recipe:
        """How it becomes a bundle."""
        return recipe_of(self.parts())


def _with(latest: Shifted, seen: str | None, count: int) -> tuple[tuple[Entry, ...], str]:
    """Entries that make the map of all groups so far, and its name."""
    if seen is None:
        return (latest,), latest.name
    joined = Joined(f"y_hat_before_{count}", (seen, latest.name))
    return (latest, joined), joined.name


def _channel_context(inputs: int, outputs: int) -> nn.Sequential:
    first, second = CONTEXT_WIDTHS
    return nn.Sequential(
        conv(inputs, first, 5, 1), nn.ReLU(), conv(first, second, 5, 1), nn.ReLU(), conv(second, outputs, 5, 1)
    )


def _group(count: int, width: int, *, context: bool) -> nn.ModuleDict:
    """A group's spatial context, and three pointwise layers whose widths fall evenly, inside not below 2 * width.

    They see the spatial context, the channel context if there is one, and the hyper features.
    """
    outputs = 2 * count
    inputs = outputs * (1 + context) + 2 * width
    ramp = torch.linspace(inputs, outputs, 4).floor().int()
    hidden = [max(int(size), 2 * width) for size in ramp[1:-1]]
    parameters = nn.Sequential(
        nn.Conv2d(inputs, hidden[0], 1), nn.ReLU(), nn.Conv2d(hidden[0], hidden[1], 1), nn.ReLU(),
        nn.Conv2d(hidden[1], outputs, 1),
    )  # fmt: skip
    spatial = nn.Conv2d(count, outputs, 5, padding=2)
    return nn.ModuleDict({"entropy_parameters": parameters, "context_prediction": spatial})
