"""What a family of students tells the exporter about itself: graphs, schedule and entropy model, as data.

Knows the parts and their meaning; knows no family, and nothing of how the parts are emitted, checked or packed: that
is `pipeline`'s matter. Every tensor here is one picture's, without a batch axis, as in a bundle.
Rule: docs/format.md, section 2.2. How to write one: docs/adding-a-student.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fastlic.runtime.entropy.tables import MAX_VALUE, MixtureTables, RowTables
from fastlic.runtime.manifest import IMAGE, RATE, Code, Latent, Port, Run, Shift

if TYPE_CHECKING:
    from fastlic.export.integer.lattice import Layer

Arrays = Mapping[str, np.ndarray]
"""Tensor name -> one picture's tensor, as the runtime holds it."""

Kind = Literal["picture", "rate", "latent", "float", "parameters"]
"""What a port carries: `image`, `rate`, a latent's symbols int16 (C, h, w), float32 (C, h, w), mixture parameters int16
(h, w', C', P)."""


@dataclass(frozen=True)
class Tensors:
    """A port of a graph. `channels` matters for inputs: C of (C, h, w).

    `axes` names the axes in the ONNX model of a graph that gives the port; by default they are named after the port.
    """

    name: str
    stride: int
    channels: int = 0
    kind: Kind = "float"
    axes: tuple[str, ...] = ()

    @property
    def port(self) -> Port:
        """The port in a manifest."""
        return Port(self.name, self.stride)


PICTURE = Tensors(IMAGE, 1, 3, "picture")
SELECTED = Tensors(RATE, 1, 1, "rate")
"""The ports of the picture, and of the rate where a student has several."""


class Transform(nn.Module):
    """A floating-point graph: `values` computes, `forward` adds the rounding that the ports' types ask for.

    Attributes:
        outputs: its output ports, set by `FloatGraph`.
    """

    outputs: tuple[Tensors, ...] = ()

    def values(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs before they are rounded, in the precision of the weights.

        Args:
            inputs: as the ports say, without batch axis; the picture is float (3, H, W) in [0, 1].

        Returns:
            One tensor per output port; the picture as levels (3, H, W), not clamped.
        """
        raise TypeError(f"{type(self).__name__} does not say what it computes")

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The graph as it is emitted: uint8 (H, W, 3) pictures, int16 symbols and parameters."""
        given = [picture_in(x) if x.dtype == torch.uint8 else x for x in inputs]
        return tuple(finished(x, port.kind) for x, port in zip(self.values(*given), self.outputs, strict=True))


def picture_in(image: Tensor) -> Tensor:
    """uint8 (H, W, 3) -> float (3, H, W) in [0, 1]."""
    return (image.float() / 255).permute(2, 0, 1)


def finished(values: Tensor, kind: Kind) -> Tensor:
    """What leaves a graph: symbols and parameters rounded to int16, pictures to uint8 (H, W, 3)."""
    if kind == "picture":
        return (values + 0.5).clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    if kind == "latent":
        return values.round().clamp(-MAX_VALUE, MAX_VALUE).to(torch.int16)
    if kind == "parameters":
        return values.round().clamp(-32767, 32767).to(torch.int16)
    return values


@dataclass(frozen=True)
class FloatGraph:
    """A graph that stays floating point.

    Attributes:
        module: what it computes.
        inputs, outputs: its ports.
        scope: "picture", evaluated in windows with a measured halo, or "tile".
        pinned: symbols depend on it, so that its bundle decodes on one engine only; it is kept in float32.
    """

    module: Transform
    inputs: tuple[Tensors, ...]
    outputs: tuple[Tensors, ...]
    scope: Literal["tile", "picture"] = "picture"
    pinned: bool = False

    def __post_init__(self) -> None:
        """Tell the module what its outputs are."""
        self.module.outputs = self.outputs


@dataclass(frozen=True)
class ExactGraph:
    """An integer graph, emitted, with what proves and checks it.

    Attributes:
        content: the ONNX model.
        inputs, outputs: its ports in the manifest.
        certificates: layer name -> bounds, for the manifest.
        layers: those that worst-sign vectors are made of.
        reference: the oracle: integer arrays in the order of the inputs -> arrays in the order of the outputs.
    """

    content: bytes
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    certificates: Mapping[str, Any]
    layers: tuple[Layer, ...]
    reference: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Entropy:
    """A student's entropy model, ready to be packed.

    Attributes:
        distributions: name -> tables.
        exact: name -> integer graph; empty for factorised and pinned students.
        float_bits: bits that the float model's likelihoods say one picture's tensors take; the budget of 0.3 % is
            measured against it.
        causes: what splits the rate cost: bits of one picture's tensors with one cause after the other switched on,
            from the float model to coding in which no element is skipped; empty: the total is not split.
    """

    distributions: Mapping[str, RowTables | MixtureTables]
    float_bits: Callable[[Arrays], float]
    exact: Mapping[str, ExactGraph] = field(default_factory=dict)
    causes: Callable[[Arrays], Mapping[str, float]] = lambda tensors: {}


@dataclass(frozen=True)
class Recipe:
    """How one trained student becomes a bundle.

    Attributes:
        multiple: pictures are padded to multiples of this many pixels.
        latents: as in the manifest.
        analysis, schedule: the steps, as in the manifest.
        transforms: name -> floating-point graph, for every step's graph that `entropy` does not give.
        entropy: makes the entropy model from samples: for every calibration picture the tensors that the analysis
            steps computed from it.
        rates: how many rates the student has; 0: one.
        shifts: which passes hold symbols around means, as in the manifest.
    """

    multiple: int
    latents: Mapping[str, Latent]
    analysis: tuple[Run, ...]
    schedule: tuple[Run | Code, ...]
    transforms: Mapping[str, FloatGraph]
    entropy: Callable[[Sequence[Arrays]], Entropy]
    rates: int = 0
    shifts: tuple[Shift, ...] = ()
