"""What students with a hyperprior share: a schedule from the stages of a program, one normal per element.

Knows the recipe of g_a, h_a, g_s, a factorised prior for z and a program for y; knows no family. A family without a
hyperprior (`factorised_recipe`) has the prior code y itself.
Source: Balle et al. 2018 (hyperprior), Minnen et al. 2018 (means); docs/format.md, section 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from fastlic.export.gaussian import entropy_of, prior_bits
from fastlic.export.integer.affine import Affine, Source, affine_of, convolution
from fastlic.export.integer.program import MEAN_UNIT, SCALE_UNIT, Entry, Node, Program, Shifted, Stage
from fastlic.export.integer.stages import SHIFTED, ports_of
from fastlic.export.recipe import PICTURE, Arrays, Entropy, FloatGraph, Recipe, Tensors
from fastlic.export.students.factorised import FactorisedPrior
from fastlic.export.students.transforms import Analysis, HyperAnalysis, Synthesis
from fastlic.export.tables import prior_rows
from fastlic.runtime.manifest import Code, Latent, Run, Shift

MULTIPLE = 64
Y_STRIDE = 16
"""Pixels per element of z and of y."""


@dataclass(frozen=True)
class Parts:
    """The networks of a student with a hyperprior.

    Attributes:
        channels, hyper_channels: of y and of z.
        g_a, h_a, g_s: (B, C, h, w) -> (B, C', h', w'); g_s ends in three channels in [0, 1].
        prior: of z.
        program: stages that code y.
        absolute: h_a sees |y|.
    """

    channels: int
    hyper_channels: int
    g_a: nn.Module
    h_a: nn.Module
    g_s: nn.Sequential
    prior: FactorisedPrior
    program: Program
    absolute: bool = False


def chain(prefix: str, network: nn.Module, source: str, *, last: float | None) -> list[Node]:
    """A network of convolutions and (leaky) ReLUs as nodes.

    Args:
        prefix: of the nodes' names.
        network: a sequence of modules.
        source: the map it reads.
        last: the slope after the last convolution, where no activation follows: 1 for a map, None for numbers.
    """
    found: list[Node] = []
    modules = list(network.named_children())
    for position, (name, module) in enumerate(modules):
        if isinstance(module, (nn.ReLU, nn.LeakyReLU)):
            continue
        after = modules[position + 1][1] if position + 1 < len(modules) else None
        slope = after.negative_slope if isinstance(after, nn.LeakyReLU) else 0.0 if after is not None else last
        found.append(Node(affine_of(f"{prefix}.{name}", module), (source,), slope))
        source = found[-1].name
    return found


def numbers_of(node: Node, count: int, *, packed: bool = False) -> Node:
    """A stage's last layer: its outputs, `count` scales and then as many means or none, in the program's units."""
    units = np.repeat([SCALE_UNIT, MEAN_UNIT], count)[: len(node.affine.bias)].astype(np.float64)
    sources = tuple(Source(source.taps, source.weight * units) for source in node.affine.sources)
    return Node(Affine(node.name, sources, node.affine.bias * units), node.inputs, None, packed)


@dataclass(frozen=True)
class CheckerboardGroup:
    """Channels [first, end) of y that are coded in two halves.

    Attributes:
        name: in names of stages and layers.
        channels: of y.
        context: 5x5 convolution of the group's anchors, of which the taps of the other parity are alive.
        parameters: pointwise layers from spatial context, channel context (where there is one) and hyper features,
            concatenated in this order, to scales and means.
    """

    name: str
    channels: tuple[int, int]
    context: nn.Module
    parameters: nn.Module


def checkerboard_stages(
    group: CheckerboardGroup,
    features: str,
    channel_context: str | None,
    entries: tuple[Entry, ...],
    nodes: tuple[Node, ...],
) -> tuple[Stage, Stage]:
    """The stages of one group; anchors have even (row + column).

    Args:
        group: what is coded.
        features: map of hyper features.
        channel_context: map of what earlier groups say.
        entries, nodes: that make these maps, at the beginning of the first stage.
    """
    count = group.channels[1] - group.channels[0]
    maps = [features] if channel_context is None else [channel_context, features]
    anchors = Shifted(f"{group.name}_anchors", "y", group.channels, (f"{group.name}_even",))
    alive = np.add.outer(np.arange(5), np.arange(5)) % 2 > 0
    source, bias = convolution(group.context, alive)
    context = Node(Affine(f"{group.name}.context", (source,), bias), (anchors.name,), 1.0, packed=True)
    first = Stage(
        f"{group.name}_even", entries, (*nodes, *_parameters(group, maps, None, "even")), "y", group.channels, "even"
    )
    second = Stage(
        f"{group.name}_odd",
        (anchors,),
        (context, *_parameters(group, maps, context.name, "odd")),
        "y",
        group.channels,
        "odd",
    )
    assert 2 * count == len(first.nodes[-1].affine.bias)
    return first, second


def _parameters(group: CheckerboardGroup, maps: list[str], context: str | None, half: str) -> list[Node]:
    """The parameter network's nodes for one half; without a context its columns are left out, since it is zero."""
    count = group.channels[1] - group.channels[0]
    first, *rest, last = chain(f"{group.name}.parameters.{half}", group.parameters, "", last=None)
    source = first.affine.sources[0]
    # Columns of the spatial context, of the channel context if there is one, and of the hyper features.
    ends = [2 * count * (number + 1) for number in range(len(maps))]
    parts = [Source(source.taps, weight) for weight in np.split(source.weight, ends, axis=1)]
    inputs = (context, *maps) if context else tuple(maps)
    sources = tuple(parts if context else parts[1:])
    opened = Node(Affine(first.name, sources, first.affine.bias), inputs, first.slope, packed=True)
    inner = [Node(node.affine, node.inputs, node.slope, packed=True) for node in rest]
    return [opened, *inner, numbers_of(last, count, packed=True)]


def recipe_of(parts: Parts) -> Recipe:
    """How a student with a hyperprior becomes a bundle."""
    program, stages = parts.program, parts.program.stages
    around = all(stage.means for stage in stages)
    y_float = Tensors("y_float", Y_STRIDE, parts.channels)
    y = Tensors("y", Y_STRIDE, parts.channels, "latent")
    z = Tensors("z", MULTIPLE, parts.hyper_channels, "latent")
    seen = Tensors(SHIFTED, Y_STRIDE, parts.channels) if around else y
    schedule: list[Run | Code] = [Code("z", "prior", (0, parts.hyper_channels))]
    shifts = []
    for stage in stages:
        inputs, outputs = ports_of(program, stage)
        schedule.append(Run(stage.name, inputs, outputs))
        if stage.means:
            shifts.append(Shift(len(schedule), y_float.name, stage.means_tensor, MEAN_UNIT))
        schedule.append(Code("y", "normal", stage.channels, stage.parity, stage.parameters_tensor))
    if program.closing:
        schedule.append(Run(program.closing.name, *ports_of(program, program.closing)))
    elif around:
        schedule.append(Run("shift", ("y", *(stage.means_tensor for stage in stages)), (SHIFTED,)))
    schedule.append(Run("synthesis", (seen.name,), (PICTURE.name,)))
    analysed = (y_float,) if around else (y_float, y)
    return Recipe(
        multiple=MULTIPLE,
        latents={
            "z": Latent(parts.hyper_channels, MULTIPLE),
            "y": Latent(parts.channels, Y_STRIDE, channel_map=not around),
        },
        analysis=(
            Run("analysis", (PICTURE.name,), tuple(port.name for port in analysed)),
            Run("hyper_analysis", (y_float.name,), ("z",)),
        ),
        schedule=tuple(schedule),
        transforms={
            "analysis": FloatGraph(Analysis(parts.g_a, len(analysed)), (PICTURE,), analysed),
            "hyper_analysis": FloatGraph(
                HyperAnalysis(parts.h_a, parts.prior, parts.absolute), (y_float,), (z,), "tile"
            ),
            "synthesis": FloatGraph(Synthesis(parts.g_s), (seen,), (PICTURE,)),
        },
        entropy=lambda samples: entropy_of(program, parts.prior, samples, Y_STRIDE, MULTIPLE),
        shifts=tuple(shifts),
    )


def factorised_recipe(g_a: nn.Module, g_s: nn.Sequential, prior: FactorisedPrior) -> Recipe:
    """How a student whose prior codes y itself becomes a bundle."""
    channels = len(prior.medians())
    y = Tensors("y", Y_STRIDE, channels, "latent")

    def entropy(_samples: Sequence[Arrays]) -> Entropy:
        return Entropy({"prior": prior_rows(prior)}, lambda tensors: prior_bits(prior, tensors["y"]))

    return Recipe(
        multiple=Y_STRIDE,
        latents={"y": Latent(channels, Y_STRIDE, channel_map=True)},
        analysis=(Run("analysis", (PICTURE.name,), ("y",)),),
        schedule=(Code("y", "prior", (0, channels)), Run("synthesis", ("y",), (PICTURE.name,))),
        transforms={
            "analysis": FloatGraph(Analysis(g_a, 1, prior.medians()), (PICTURE,), (y,)),
            "synthesis": FloatGraph(Synthesis(g_s, prior.medians()), (y,), (PICTURE,)),
        },
        entropy=entropy,
    )
