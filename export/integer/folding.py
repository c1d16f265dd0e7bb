"""The entropy networks of a Fu 2023 student as the fewest affine layers that compute the same.

Knows how neighbouring linear layers merge and in which order and unit a bundle wants parameters; knows nothing of
integers. h_s ends in a linear layer, and so does the context: both are folded into the first layers of the parameter
networks, which spares two roundings and lets each half of the checkerboard compute only what it needs. Zero padding
happens before the folded layer in both forms, so the result is the same at borders too.
Rule: docs/format.md, section 4.2 (order of the numbers), section 3 (checkerboard).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastlic.export.integer.affine import Affine, Source, convolution, subpixel
from fastlic.export.students.checkerboard import pack, unpack
from fastlic.export.students.fu2023 import COMPONENTS, Fu2023
from fastlic.export.students.likelihood import FAMILIES

LOGIT_UNIT = 16
MEAN_UNIT = 32
SCALE_UNIT = 32
HYPER_UNIT = 32
"""Numbers per 1: logits are Q4, means Q5 (docs/format.md 4.2); raw scales Q5 and the hyper latent Q5 by choice."""


@dataclass(frozen=True)
class FoldedNetwork:
    """The entropy networks of one student.

    Attributes:
        trunk: from the hyper latent (value, median included) to the features both halves share, at latent resolution.
        anchor: pointwise but for its first layer; ends in M x 30 numbers, those of one channel together.
        nonanchor: its first layer has two sources, the features and the latent with non-anchors zero; ends in M x 9.
        medians: (hyper channels,) float64.
        slope: of the leaky ReLU.
        parity: (row + column) % 2 of anchors.
    """

    trunk: tuple[Affine, ...]
    anchor: tuple[Affine, ...]
    nonanchor: tuple[Affine, ...]
    medians: np.ndarray
    slope: float
    parity: int

    def layers(self) -> tuple[Affine, ...]:
        """All layers, in order of evaluation."""
        return self.trunk + self.anchor + self.nonanchor

    @torch.no_grad()
    def evaluate(self, z: np.ndarray, y: np.ndarray, record: dict[str, Tensor] | None = None) -> list[np.ndarray]:
        """Parameters in a bundle's order and units, not rounded.

        Args:
            z: (hyper channels, h / 4, w / 4) integers, value minus median rounded.
            y: (M, h, w) integers.
            record: receives each layer's output before the leaky ReLU by name, (1, channels, rows, columns).

        Returns:
            float32 (h, w / 2, M, 30) of anchors and (h, w / 2, M, 9) of non-anchors.
        """
        record = {} if record is None else record

        def chain(layers: tuple[Affine, ...], *inputs: Tensor) -> Tensor:
            for layer in layers:
                record[layer.name] = layer(*inputs)
                inputs = (functional.leaky_relu(record[layer.name], self.slope),)
            return record[layers[-1].name]

        values = torch.from_numpy(z + self.medians[:, None, None]).float()[None]
        chain(self.trunk, values)
        features = functional.leaky_relu(record[self.trunk[-1].name], self.slope)
        anchors = unpack(pack(torch.from_numpy(y).float()[None], self.parity), self.parity)
        found = []
        for layers, inputs, parity in (
            (self.anchor, (features,), self.parity),
            (self.nonanchor, (features, anchors), 1 - self.parity),
        ):
            record[layers[0].name] = pack(layers[0](*inputs), parity)
            chain(layers[1:], functional.leaky_relu(record[layers[0].name], self.slope))
            numbers = record[layers[-1].name][0].permute(1, 2, 0)
            found.append(numbers.unflatten(2, (y.shape[0], -1)).numpy())
        return found


def fold(model: Fu2023) -> FoldedNetwork:
    """The student's entropy networks, merged; weights are read in double precision."""
    last = convolution(model.h_s[-1])
    context = convolution(model.context, alive=model.context.alive.numpy() > 0)
    latent_channels = model.configuration.M
    trunk = tuple(
        Affine(f"h_s.{position}", (source,), bias, upsample)
        for position, module in enumerate(list(model.h_s)[:-1])
        if not isinstance(module, nn.LeakyReLU)
        for source, bias, upsample in [_upsampling(module)]
    )
    anchor_layers = _pen("pen_anchor", model.pen_anchor)
    nonanchor_layers = _pen("pen_nonanchor", model.pen_nonanchor)
    first, bias = _single(anchor_layers[0])
    anchor_first = Affine("pen_anchor.0", (_after(last[0], first),), bias + last[1] @ first)
    first, bias = _single(nonanchor_layers[0])
    split = 2 * latent_channels
    nonanchor_first = Affine(
        "pen_nonanchor.0",
        (_after(last[0], first[:split]), _after(context[0], first[split:])),
        bias + last[1] @ first[:split] + context[1] @ first[split:],
    )
    return FoldedNetwork(
        trunk=trunk,
        anchor=_in_format_order((anchor_first, *anchor_layers[1:]), latent_channels, len(FAMILIES)),
        nonanchor=_in_format_order((nonanchor_first, *nonanchor_layers[1:]), latent_channels, 1),
        medians=model.entropy_bottleneck.medians().double().numpy(),
        slope=model.configuration.leaky_slope,
        parity=model.configuration.parity,
    )


def _upsampling(module: nn.Module) -> tuple[Source, np.ndarray, bool]:
    """A layer of h_s."""
    if isinstance(module, nn.Conv2d):
        return *convolution(module), False
    return *subpixel(module.get_submodule("conv")), True


def _pen(name: str, module: nn.Sequential) -> list[Affine]:
    return [
        Affine(f"{name}.{position}", (source,), bias)
        for position, layer in enumerate(module)
        if isinstance(layer, nn.Conv2d)
        for source, bias in [convolution(layer)]
    ]


def _single(layer: Affine) -> tuple[np.ndarray, np.ndarray]:
    """The matrix (inputs, outputs) and the bias of a pointwise layer."""
    return layer.sources[0].weight[0], layer.bias


def _after(source: Source, matrix: np.ndarray) -> Source:
    """A source followed by a pointwise (inputs, outputs) matrix."""
    return Source(source.taps, source.weight @ matrix)


def _in_format_order(layers: tuple[Affine, ...], channels: int, families: int) -> tuple[Affine, ...]:
    """Reorder and scale a chain's last outputs, (parameter, channel), to the format's (channel, parameter)."""
    count = COMPONENTS * families
    numbers = 3 * count + (families if families > 1 else 0)
    rows = [3 * k + kind for kind in range(3) for k in range(count)] + list(range(3 * count, numbers))
    units = np.repeat([LOGIT_UNIT, MEAN_UNIT, SCALE_UNIT, LOGIT_UNIT], [count, count, count, numbers - 3 * count])
    order = (np.array(rows)[None, :] * channels + np.arange(channels)[:, None]).ravel()
    scale = np.tile(units, channels).astype(np.float64)
    last = layers[-1]
    sources = tuple(Source(source.taps, source.weight[:, :, order] * scale) for source in last.sources)
    return (*layers[:-1], Affine(last.name, sources, last.bias[order] * scale))
