"""Fu 2023 as a recipe: y in two halves of a checkerboard, each a mixture; entropy networks folded onto the lattice.

Knows the schedule and what goes into it; the networks are `fu2023`'s, their integer form `integer.folding`'s and
`integer.lattice`'s. It has an integer network of its own rather than a program of stages: the context's first layer
begins in the graph `hyper` and ends in `context`, so that nothing is computed twice.
Rule: docs/format.md, section 2.2.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from fastlic.export.graphs import round_to_half
from fastlic.export.integer.certificate import LayerCertificate, certify
from fastlic.export.integer.folding import SCALE_UNIT, FoldedNetwork, fold
from fastlic.export.integer.graphs import context_graph, hyper_graph
from fastlic.export.integer.lattice import IntegerNetwork, Layer
from fastlic.export.integer.program import Parity
from fastlic.export.integer.quantisation import Ranges, calibrate, quantise
from fastlic.export.rate import Distributions, RateMeter
from fastlic.export.recipe import PICTURE, Arrays, Entropy, ExactGraph, FloatGraph, Recipe, Tensors
from fastlic.export.students.deform import disable_zero_offsets
from fastlic.export.students.fu2023 import COMPONENTS, Fu2023
from fastlic.export.students.likelihood import FAMILIES, SCALE_FLOOR
from fastlic.export.students.transforms import Analysis, HyperAnalysis, PhasedSynthesis, scale_to_levels
from fastlic.export.tables import mixture_tables, prior_rows, scale_levels
from fastlic.runtime.manifest import Code, Latent, Port, Run

Y_STRIDE = 16
"""Pixels per element of y."""


def recipe_of(model: Fu2023) -> Recipe:
    """The recipe of one trained student."""
    settings, z_stride = model.configuration, model.multiple
    channels, hyper_channels = (0, settings.M), (0, settings.hyper_channels)
    halves: tuple[Parity, Parity] = ("even", "odd") if settings.parity == 0 else ("odd", "even")
    picture = replace(PICTURE, axes=("height", "width", "channels"))
    y_float = Tensors("y_float", Y_STRIDE, settings.M, axes=("channels", "h", "w"))
    y = replace(y_float, name="y", kind="latent")
    z = Tensors("z", z_stride, settings.hyper_channels, "latent", axes=("channels", "rows", "columns"))
    transforms = {
        "analysis": FloatGraph(Analysis(model.g_a, outputs=2), (picture,), (y_float, y)),
        "hyper_analysis": FloatGraph(HyperAnalysis(model.h_a, model.entropy_bottleneck), (y_float,), (z,), "tile"),
        "synthesis": FloatGraph(Synthesis(model.g_s), (y,), (picture,)),
    }
    for graph in transforms.values():
        disable_zero_offsets(graph.module)
    return Recipe(
        multiple=model.multiple,
        latents={
            "z": Latent(settings.hyper_channels, z_stride),
            "y": Latent(settings.M, Y_STRIDE, channel_map=True),
        },
        analysis=(Run("analysis", ("image",), ("y_float", "y")), Run("hyper_analysis", ("y_float",), ("z",))),
        schedule=(
            Code("z", "prior", hyper_channels),
            Run("hyper", ("z",), ("anchor_parameters", "hyper")),
            Code("y", "anchors", channels, halves[0], "anchor_parameters"),
            Run("context", ("hyper", "y"), ("nonanchor_parameters",)),
            Code("y", "nonanchors", channels, halves[1], "nonanchor_parameters"),
            Run("synthesis", ("y",), ("image",)),
        ),
        transforms=transforms,
        entropy=lambda samples: _entropy(model, samples),
    )


class Synthesis(PhasedSynthesis):
    """y -> image. The last convolution, scaled to levels, stays in single precision."""

    def __init__(self, g_s: nn.Sequential) -> None:
        super().__init__()
        *body, last, _shuffle = copy.deepcopy(g_s)
        self.g_s = nn.Sequential(*body, last)
        round_to_half(self.g_s)
        scale_to_levels(last)

    def phases(self, y: Tensor) -> Tensor:
        """See `PhasedSynthesis.phases`."""
        found: Tensor = self.g_s(y.to(self.g_s[-1].get_parameter("bias").dtype)[None])
        return found


def _entropy(model: Fu2023, samples: Sequence[Arrays]) -> Entropy:
    """Calibrate, quantise, prove and emit."""
    folded = fold(model)
    ranges = calibrate(folded, ((tensors["z"], tensors["y"]) for tensors in samples))
    quantised = quantise(folded, ranges)
    largest = _largest_scale(folded, ranges)
    tables = Distributions(
        prior=prior_rows(model.entropy_bottleneck),
        anchors=mixture_tables(FAMILIES, COMPONENTS, largest),
        nonanchors=mixture_tables(FAMILIES[:1], COMPONENTS, largest),
        levels=scale_levels(largest),
    )
    meter = RateMeter(folded, quantised, model.entropy_bottleneck, tables)
    return Entropy(
        distributions={"prior": tables.prior, "anchors": tables.anchors, "nonanchors": tables.nonanchors},
        float_bits=meter.float_bits,
        exact=_exact_graphs(quantised.network, certify(quantised.network), model.multiple),
        causes=meter.causes,
    )


def _largest_scale(folded: FoldedNetwork, ranges: Ranges) -> float:
    """The power of two not below 1.5 times the largest scale met, in [16, 256]."""
    largest = 0.0
    for layers, families in ((folded.anchor, len(FAMILIES)), (folded.nonanchor, 1)):
        numbers = 3 * COMPONENTS * families + (families if families > 1 else 0)
        peaks = ranges.high[layers[-1].name].reshape(-1, numbers)
        count = COMPONENTS * families
        largest = max(largest, float(peaks[:, 2 * count : 3 * count].max()) / SCALE_UNIT)
    return float(np.clip(np.exp2(np.ceil(np.log2(1.5 * max(largest, 1) + SCALE_FLOOR))), 16, 256))


def _exact_graphs(
    network: IntegerNetwork, proofs: Mapping[str, LayerCertificate], z_stride: int
) -> dict[str, ExactGraph]:
    """`hyper` and `context`; the non-anchors' first layer is computed in both."""

    def certificates(layers: Sequence[Layer]) -> dict[str, dict[str, object]]:
        return {layer.name: dataclasses.asdict(proofs[layer.name]) for layer in layers}

    def hyper_oracle(inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        anchors, shared = network.from_hyper(inputs[0])
        height, width = shared.shape[:2]
        return network.parameters(network.anchor, anchors), shared.reshape(height // 2, 2, width, -1)

    def context_oracle(inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        hyper, y = inputs
        shared = hyper.astype(np.int64).reshape(y.shape[1], y.shape[2] // 2, -1)
        return (network.parameters(network.nonanchor, network.from_context(shared, y)),)

    z, y, hyper = Port("z", z_stride), Port("y", Y_STRIDE), Port("hyper", Y_STRIDE)
    before, after = (*network.trunk, *network.anchor), network.nonanchor
    return {
        "hyper": ExactGraph(
            content=hyper_graph(network),
            inputs=(z,),
            outputs=(Port("anchor_parameters", Y_STRIDE), hyper),
            certificates=certificates((*before, after[0])),
            layers=before,
            reference=hyper_oracle,
        ),
        "context": ExactGraph(
            content=context_graph(network),
            inputs=(hyper, y),
            outputs=(Port("nonanchor_parameters", Y_STRIDE),),
            certificates=certificates(after),
            layers=after,
            reference=context_oracle,
        ),
    }
