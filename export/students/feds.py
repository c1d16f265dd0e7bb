"""FEDS: a channel-slice codec with latent residual prediction, the convolutional student of a Swin-V2 teacher.

Knows the networks and their key names; the schedule and its graphs come from `hyperprior`. Slice after slice is
predicted from the hyper features and the slices before; when it is known, a small network predicts what rounding took
from it (latent residual prediction, LRP), and later slices and the synthesis see the refined values. The residual is
limited to half a step by a clip, where such codecs usually have tanh: a clip is an integer operation, so the refined
slices stay on the lattice and later slices may depend on them.
Source: seed 002 (slices, LRP, CNN student); the seed does not give every width, so they are configuration:
docs/adding-a-student.md.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import torch
from torch import Tensor, nn

from fastlic.export.integer.affine import Affine, Source
from fastlic.export.integer.program import MEAN_UNIT, Entry, Hyper, Node, Program, Shifted, Stage
from fastlic.export.students.fu2023 import Quantiser
from fastlic.export.students.hyperprior import chain, numbers_of
from fastlic.export.students.layers import conv3
from fastlic.export.students.normal import normal_likelihood
from fastlic.export.students.settings import Width, require
from fastlic.export.students.sliced import SlicedCoded, SlicedConfiguration, SlicedStudent, reading

HALF_STEP = 0.5


class FedsConfiguration(SlicedConfiguration, frozen=True, forbid_unknown_fields=True):
    """Widths and conventions of one student; field names are the keys of the JSON file.

    `slices`: equal parts of y; `slice_hidden`, `residual_hidden`: of the networks that predict one and its residual.
    """

    slices: Annotated[int, msgspec.Meta(ge=2, le=32)]
    slice_hidden: Width
    residual_hidden: Width
    residual_limit: Literal["clip to half a step"]

    def __post_init__(self) -> None:
        """Refuse values that contradict each other; raises `CheckpointError`."""
        require(self.M % self.slices == 0, "M", self.M, f"a multiple of slices, {self.slices}")


class SliceNetworks(nn.Module):
    """What predicts one slice of `count` channels from features and `before` earlier channels, and its residual."""

    def __init__(self, settings: FedsConfiguration, before: int, count: int) -> None:
        super().__init__()
        leaky, inner, residual = nn.LeakyReLU(settings.leaky_slope), settings.slice_hidden, settings.residual_hidden
        inputs = settings.features + before
        self.numbers = nn.Sequential(conv3(inputs, inner), leaky, conv3(inner, 2 * count))
        self.residual = nn.Sequential(conv3(inputs + count, residual), leaky, conv3(residual, count))
        with torch.no_grad():
            self.numbers[-1].get_parameter("bias")[:count] = 1.0


class Feds(SlicedStudent):
    """One student; y is coded slice after slice."""

    family = "feds"
    settings = FedsConfiguration

    def __init__(self, configuration: FedsConfiguration) -> None:
        width = configuration.M // configuration.slices
        super().__init__(configuration, [width] * configuration.slices)
        self.slices = nn.ModuleList(SliceNetworks(configuration, first, width) for first, _ in self.ranges)

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
        for (first, end), networks in zip(self.ranges, self.slices, strict=True):
            support, wanted = torch.cat((features, known), dim=1), y[:, first:end]
            scale, mean = networks.get_submodule("numbers")(support).chunk(2, dim=1)
            coded = quantise(wanted - mean) + mean
            found.append(normal_likelihood(coded if rate is None else rate(wanted), mean, scale))
            residual = networks.get_submodule("residual")(torch.cat((support, coded), dim=1))
            known = torch.cat((known, coded + residual.clamp(-HALF_STEP, HALF_STEP)), dim=1)
        return SlicedCoded(self.g_s(known), y, tuple(found))

    def program(self) -> Program:
        """The entropy networks as stages: one per slice, which first refines the slice before; the last at the end."""
        entry = Hyper("z_hat", "z", self.hyper.prior.medians().double().numpy())
        trunk = chain("h_s", self.hyper.h_s, entry.name, last=1.0)
        maps = {trunk[-1].name: self.configuration.features}
        stages = [self._stage(0, (entry,), tuple(trunk), maps)]
        for k in range(1, len(self.ranges)):
            entries, nodes, maps = self._refined(k - 1, maps)
            stages.append(self._stage(k, entries, nodes, maps))
        last = len(self.ranges) - 1
        entries, nodes, _ = self._refined(last, maps)
        closing = Stage("refine", entries, nodes, "y", self.ranges[last])
        return Program(tuple(stages), closing)

    def _stage(self, k: int, entries: tuple[Entry, ...], nodes: tuple[Node, ...], maps: dict[str, int]) -> Stage:
        """Code slice k, predicted from `maps` (name -> channels)."""
        first, last = chain(f"slice{k}.numbers", self.slices[k].get_submodule("numbers"), "", last=None)
        count = self.ranges[k][1] - self.ranges[k][0]
        own = (reading(first, maps), numbers_of(last, count))
        return Stage(f"slice{k}", entries, (*nodes, *own), "y", self.ranges[k])

    def _refined(self, k: int, maps: dict[str, int]) -> tuple[tuple[Entry, ...], tuple[Node, ...], dict[str, int]]:
        """What refines slice k once it is coded, and the maps that later slices read."""
        count = self.ranges[k][1] - self.ranges[k][0]
        rounded = Shifted(f"rounded{k}", "y", self.ranges[k], (f"slice{k}",))
        first, last = chain(f"slice{k}.residual", self.slices[k].get_submodule("residual"), "", last=None)
        sources = tuple(Source(source.taps, source.weight * MEAN_UNIT) for source in last.affine.sources)
        refining = Affine(last.name, sources, last.affine.bias * MEAN_UNIT)
        nodes = (reading(first, {**maps, rounded.name: count}), Node(refining, last.inputs, None, onto=rounded.name))
        return (rounded,), nodes, {**maps, last.name: count}
