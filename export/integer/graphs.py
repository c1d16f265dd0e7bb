"""The two exact graphs of a checkerboard student: `hyper` before the anchors are coded, `context` after.

Knows phases: features and latent stay as maps of rows and columns modulo 2, so that each half of the checkerboard is
two dense maps and nothing is computed for the other half. Layers themselves are `emission`'s matter.
Rule: docs/format.md, section 3 (packing); ports as in section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import TensorProto

from fastlic.export.integer.emission import (
    GraphBuilder,
    concatenated,
    displaced,
    emit_layer,
    emit_product,
    emit_rounding,
    emit_sum,
    interleaved,
    port,
)
from fastlic.export.integer.folding import HYPER_UNIT
from fastlic.export.integer.lattice import IntegerNetwork, Layer, Product

Phase = tuple[int, int]
Tap = tuple[int, int]
Displaced = Callable[[Phase, Tap, Product], str]


def hyper_graph(network: IntegerNetwork) -> bytes:
    """Emit `hyper`: z int16 (Cz, h / 4, w / 4) -> anchor_parameters int16 (h, w / 2, M, 30) and hyper.

    The output hyper, float32 (h / 2, 2, w / 2, width), is what the hyper latent contributes to the non-anchors' first
    layer, bias included, in units of 2^-fraction.
    """
    build = GraphBuilder()
    x = build.clip(build.op("Cast", "z", to=TensorProto.FLOAT), -network.hyper_limit, network.hyper_limit)
    medians = build.constant(network.medians.astype(np.float32)[:, None, None], "medians")
    x = build.op("Add", build.op("Mul", x, build.scalar(HYPER_UNIT)), medians)
    x = build.op("Transpose", x, perm=[1, 2, 0])
    for layer in network.trunk[:-1]:
        x = emit_layer(build, x, layer)
        if layer.upsample:
            x = interleaved(build, x, len(layer.bias) // 4)
    features = build.padded(emit_layer(build, x, network.trunk[-1]), 1)
    width = len(network.trunk[-1].bias) // 4

    def feature(phase: Phase, tap: Tap, product: Product) -> str:
        row, column = phase[0] + tap[0], phase[1] + tap[1]
        first = (2 * (row % 2) + column % 2) * width
        channels = (first + product.channels[0], first + product.channels[1])
        return displaced(build, features, (row // 2, column // 2), 1, channels)

    anchor, nonanchor = network.anchor[0], network.nonanchor[0]
    total = _half(build, anchor, 0, network.parity, feature, bias=True)
    _parameters(build, emit_rounding(build, total, anchor), network.anchor[1:], "anchor_parameters", network)
    build.rename(_half(build, nonanchor, 0, 1 - network.parity, feature, bias=True), "hyper")
    return build.model(
        "hyper",
        [port("z", TensorProto.INT16, (len(network.medians), "rows", "columns"))],
        [
            port("anchor_parameters", TensorProto.INT16, ("h", "w_half", *_numbers(network, network.anchor))),
            port("hyper", TensorProto.FLOAT, ("h_half", 2, "w_half", len(nonanchor.bias))),
        ],
    )


def context_graph(network: IntegerNetwork) -> bytes:
    """Emit `context`: hyper, y int16 (M, h, w) -> nonanchor_parameters int16 (h, w / 2, M, 9).

    hyper is as `hyper_graph` gives it; of y only the anchors are read.
    """
    build = GraphBuilder()
    reach = 1  # in maps of one phase; taps reach two rows and columns of the whole latent
    maps: dict[Phase, str] = {}
    for phase in _phases(network.parity):
        part = build.slice("y", (1, 2), phase, (0, 0), step=2)
        part = build.clip(build.op("Cast", part, to=TensorProto.FLOAT), -network.latent_limit, network.latent_limit)
        maps[phase] = build.padded(build.op("Transpose", part, perm=[1, 2, 0]), reach)

    def latent(phase: Phase, tap: Tap, product: Product) -> str:
        row, column = phase[0] + tap[0], phase[1] + tap[1]
        return displaced(build, maps[row % 2, column % 2], (row // 2, column // 2), reach, product.channels)

    first = network.nonanchor[0]
    total = build.op("Add", _half(build, first, 1, 1 - network.parity, latent, bias=False), "hyper")
    _parameters(build, emit_rounding(build, total, first), network.nonanchor[1:], "nonanchor_parameters", network)
    channels, numbers = _numbers(network, network.nonanchor)
    return build.model(
        "context",
        [
            port("hyper", TensorProto.FLOAT, ("h_half", 2, "w_half", len(first.bias))),
            port("y", TensorProto.INT16, (channels, "h", "w")),
        ],
        [port("nonanchor_parameters", TensorProto.INT16, ("h", "w_half", channels, numbers))],
    )


def _phases(parity: int) -> tuple[Phase, Phase]:
    """Of the elements whose (row + column) % 2 is `parity`: those of even rows, those of odd rows."""
    return (0, parity), (1, 1 - parity)


def _half(build: GraphBuilder, layer: Layer, source: int, parity: int, at: Displaced, *, bias: bool) -> str:
    """What one source gives a layer at one half of the checkerboard: (h / 2, 2, w / 2, outputs), not rounded."""
    rows = []
    for phase in _phases(parity):
        terms = []
        for number, product in enumerate(layer.products):
            if product.source == source:
                slices = [at(phase, tap, product) for tap in product.taps]
                terms.append(emit_product(build, concatenated(build, slices), layer, number))
        total = emit_sum(build, terms, layer, bias=bias)
        rows.append(build.op("Reshape", total, build.ints(0, 1, -1, len(layer.bias))))
    return build.op("Concat", *rows, axis=1)


def _parameters(build: GraphBuilder, x: str, layers: Sequence[Layer], name: str, network: IntegerNetwork) -> None:
    """The pointwise rest of a chain: (h / 2, 2, w / 2, width) -> the output `name`, int16 (h, w / 2, M, numbers)."""
    for layer in layers:
        width = max(product.channels[1] for product in layer.products)
        terms = [
            emit_product(build, _channels_of(build, x, width, product), layer, number)
            for number, product in enumerate(layer.products)
        ]
        x = emit_rounding(build, emit_sum(build, terms, layer), layer)
    x = build.op("Flatten", x, axis=2)
    build.rename(build.op("Reshape", x, build.ints(0, -1, *_numbers(network, layers))), name)


def _channels_of(build: GraphBuilder, x: str, width: int, product: Product) -> str:
    """The channels that a pointwise product reads; all of them unless it is one of several parts."""
    whole = product.channels == (0, width)
    return x if whole else build.slice(x, (3,), product.channels[:1], product.channels[1:])


def _numbers(network: IntegerNetwork, chain: Sequence[Layer]) -> tuple[int, int]:
    """(latent channels, numbers per element) of a chain's output."""
    return network.latent_channels, len(chain[-1].bias) // network.latent_channels
