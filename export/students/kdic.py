"""KDIC: a staged student whose latent is coded by channel groups, each in two halves of a checkerboard.

Knows the networks and their key names; the schedule and its graphs come from `hyperprior`. A group is predicted from
the hyper features, from all earlier groups and, in its second half, from its first.
Source: seed 000 (groups x parities, training in stages: `Lesson.train` of `distill.brief`); the seed does not give the
widths, so they are all configuration: docs/adding-a-student.md.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import torch
from torch import Tensor, nn

from fastlic.export.integer.program import Entry, Hyper, Joined, Node, Program, Shifted, Stage
from fastlic.export.students.checkerboard import pack, unpack
from fastlic.export.students.fu2023 import Context, Quantiser
from fastlic.export.students.hyperprior import CheckerboardGroup, chain, checkerboard_stages
from fastlic.export.students.layers import conv3
from fastlic.export.students.normal import normal_likelihood
from fastlic.export.students.settings import Width, require
from fastlic.export.students.sliced import SlicedCoded, SlicedConfiguration, SlicedStudent


class KdicConfiguration(SlicedConfiguration, frozen=True, forbid_unknown_fields=True):
    """Widths and conventions of one student; field names are the keys of the JSON file.

    `groups`: how the channels of y are divided, in coding order; `context_hidden`, `parameter_hidden`: of the networks
    that predict a group.
    """

    groups: Annotated[tuple[Width, ...], msgspec.Meta(min_length=2, max_length=32)]
    context_hidden: Width
    parameter_hidden: Width
    anchor_parity: Literal["even"]

    def __post_init__(self) -> None:
        """Refuse values that contradict each other; raises `CheckpointError`."""
        require(sum(self.groups) == self.M, "groups", self.groups, f"as many channels together as y has, {self.M}")


class Group(nn.Module):
    """What predicts one group of `count` channels: `before` channels come earlier."""

    def __init__(self, settings: KdicConfiguration, before: int, count: int) -> None:
        super().__init__()
        leaky, inner = nn.LeakyReLU(settings.leaky_slope), settings.context_hidden
        self.spatial = Context(count, 2 * count)
        if before:
            self.channels = nn.Sequential(conv3(before, inner), leaky, conv3(inner, 2 * count))
        inputs = 2 * count * (2 if before else 1) + settings.features
        self.parameters_net = nn.Sequential(
            nn.Conv2d(inputs, settings.parameter_hidden, 1), leaky, nn.Conv2d(settings.parameter_hidden, 2 * count, 1)
        )
        with torch.no_grad():
            self.parameters_net[-1].get_parameter("bias")[:count] = 1.0


class Kdic(SlicedStudent):
    """One student; y is coded group after group."""

    family = "kdic"
    settings = KdicConfiguration

    def __init__(self, configuration: KdicConfiguration) -> None:
        super().__init__(configuration, configuration.groups)
        self.groups = nn.ModuleList(Group(configuration, first, end - first) for first, end in self.ranges)

    def forward(self, picture: Tensor, quantise: Quantiser = torch.round, rate: Quantiser | None = None) -> SlicedCoded:
        """Encode and decode.

        Args:
            picture: (B, 3, H, W) float in [0, 1], H and W multiples of 64.
            quantise: what the decoder sees of y minus its mean; rounding, or straight-through rounding in training.
            rate: what likelihoods are taken of; None: of what the decoder sees. Uniform noise while training.
        """
        y = self.g_a(picture)
        features, z_likelihood = self.hyper(y, rate)
        known, found = y[:, :0], [z_likelihood]
        for (first, end), group in zip(self.ranges, self.groups, strict=True):
            part, seen = y[:, first:end], torch.zeros_like(y[:, first:end])
            context = [group.get_submodule("channels")(known)] if first else []
            for parity in (0, 1):
                spatial = group.get_submodule("spatial")(seen) if parity else seen.repeat(1, 2, 1, 1)
                numbers = group.get_submodule("parameters_net")(torch.cat((spatial, *context, features), dim=1))
                scale, mean = (pack(numbers, parity)).chunk(2, dim=1)
                wanted = pack(part, parity)
                coded = quantise(wanted - mean) + mean
                found.append(normal_likelihood(coded if rate is None else rate(wanted), mean, scale))
                seen = seen + unpack(coded, parity)
            known = torch.cat((known, seen), dim=1)
        return SlicedCoded(self.g_s(known), y, tuple(found))

    def program(self) -> Program:
        """The entropy networks as stages: two per group."""
        entry = Hyper("z_hat", "z", self.hyper.prior.medians().double().numpy())
        features = chain("h_s", self.hyper.h_s, entry.name, last=1.0)
        entries: tuple[Entry, ...] = (entry,)
        nodes: tuple[Node, ...] = tuple(features)
        stages: tuple[Stage, ...] = ()
        seen: str | None = None
        for k, (channels, group) in enumerate(zip(self.ranges, self.groups, strict=True)):
            context: str | None = None
            if k:
                latest = Shifted(f"known_{k - 1}", "y", self.ranges[k - 1], tuple(stage.name for stage in stages[-2:]))
                entries = (latest,) if seen is None else (latest, Joined(f"known_to_{k}", (seen, latest.name)))
                seen = entries[-1].name
                layers = chain(f"group{k}.channels", group.get_submodule("channels"), seen, last=1.0)
                nodes, context = tuple(layers), layers[-1].name
            described = CheckerboardGroup(
                f"group{k}", channels, group.get_submodule("spatial"), group.get_submodule("parameters_net")
            )
            stages += checkerboard_stages(described, features[-1].name, context, entries, nodes)
        return Program(stages)
