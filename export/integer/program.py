"""Entropy networks of any student as stages: one exact graph each, and the pass that is coded with what it gives.

Knows the structure: layers over named maps, where latents enter, what stages hand on, which elements a pass has. Knows
no student, and no arithmetic: floating point (`FloatArithmetic`, for calibration) and integers (`lattices`) evaluate
the same stages. Here every map is a whole grid (h, w, C); that a pass has half of its elements is only cut at the end,
where the graphs of `stages` compute that half alone.

A pass gives scales and, with `means`, means per element. Its latent then holds symbols s = round(y - mean): what later
stages and the synthesis see is s + mean (`Shifted`). So means are numbers of a fixed point that every machine gets.
Rule: docs/format.md, sections 2.2 and 3; docs/exactness.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import torch

from fastlic.export.integer.affine import Affine
from fastlic.export.integer.quantisation import Ranges

MEAN_UNIT = 32
"""Means and what is made of them are Q5."""
REFINED_LIMIT = MEAN_UNIT // 2
"""A residual is at most half a quantisation step."""
SCALE_UNIT = 64
"""Scales are Q6: 256 is the largest that library formats know, and int16 holds it."""

Parity = Literal["all", "even", "odd"]
Maps = dict[str, np.ndarray]


@dataclass(frozen=True)
class Hyper:
    """The map of a latent with medians: symbols + medians, (C,) float64, added before any zero padding."""

    name: str
    latent: str
    medians: np.ndarray


@dataclass(frozen=True)
class Shifted:
    """The map of a latent's channels [first, end) after the passes of some stages: symbols + means, else zero."""

    name: str
    latent: str
    channels: tuple[int, int]
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Joined:
    """Maps side by side along their channels."""

    name: str
    parts: tuple[str, ...]


Entry = Hyper | Shifted | Joined


@dataclass(frozen=True)
class Node:
    """A layer, its inputs (one map per source; its own name is its output's) and the slope of its leaky ReLU.

    A slope of 1 is a linear layer, 0 a ReLU; None marks the last layer of a stage, whose outputs are scales in units
    of 1 / 64 and then means in units of 1 / 32. A `packed` layer is needed at the elements of the stage's pass only.
    `onto` names a `Shifted` map that the layer refines (latent residual prediction): its outputs, without slope and in
    1 / 32, are limited to half a quantisation step and added; the sum is the map of this node.
    """

    affine: Affine
    inputs: tuple[str, ...]
    slope: float | None
    packed: bool = False
    onto: str | None = None

    @property
    def name(self) -> str:
        """Of the layer and its map."""
        return self.affine.name


@dataclass(frozen=True)
class Stage:
    """One exact graph and the pass after it. The last node gives the pass's numbers, (scale, mean) x channels.

    Attributes:
        name: of the graph.
        entries: maps that latents make, in order of evaluation.
        nodes: layers in order of evaluation.
        latent, channels, parity: the pass.
        means: whether the latent is coded around means.
    """

    name: str
    entries: tuple[Entry, ...]
    nodes: tuple[Node, ...]
    latent: str
    channels: tuple[int, int]
    parity: Parity = "all"
    means: bool = True

    @property
    def count(self) -> int:
        """Channels of the pass."""
        return self.channels[1] - self.channels[0]

    @property
    def parameters_tensor(self) -> str:
        """Name of the pass's mixture parameters."""
        return f"{self.name}_parameters"

    @property
    def means_tensor(self) -> str:
        """Name of the pass's means."""
        return f"{self.name}_means"

    def used(self) -> set[str]:
        """Maps that entries and nodes read."""
        joined = {part for entry in self.entries if isinstance(entry, Joined) for part in entry.parts}
        refined = {node.onto for node in self.nodes if node.onto}
        return (joined | refined).union(*(node.inputs for node in self.nodes))

    def made(self) -> set[str]:
        """Maps that entries and nodes make."""
        return {entry.name for entry in self.entries} | {node.name for node in self.nodes}

    def mask(self, height: int, width: int) -> np.ndarray:
        """Bool (h, w): the elements of the pass."""
        if self.parity == "all":
            return np.full((height, width), True)
        rows, columns = np.indices((height, width))
        return (rows + columns) % 2 == (self.parity == "odd")

    def pack(self, grid: np.ndarray) -> np.ndarray:
        """(h, w, C) -> (h, w', C)."""
        height, width = grid.shape[:2]
        return grid[self.mask(height, width)].reshape(height, -1, grid.shape[2])

    def unpack(self, packed: np.ndarray, width: int) -> np.ndarray:
        """(h, w', C) -> (h, w, C), zero at other elements."""
        grid = np.zeros((packed.shape[0], width, packed.shape[2]), packed.dtype)
        grid[self.mask(packed.shape[0], width)] = packed.reshape(-1, packed.shape[2])
        return grid


class Arithmetic(Protocol):
    """How entries and layers are evaluated."""

    def hyper(self, entry: Hyper, symbols: np.ndarray) -> np.ndarray:
        """Symbols (h, w, C) -> map."""

    def shifted(self, entry: Shifted, symbols: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Symbols and means in 1 / 32, (h, w, C) each -> map."""

    def layer(self, node: Node, inputs: Sequence[np.ndarray], mask: np.ndarray) -> np.ndarray:
        """Maps -> map; `mask` are the elements that matter."""

    def refined(self, base: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """The map of a node with `onto` and the node's outputs, in 1 / 32 -> their sum, the residual limited."""


@dataclass(frozen=True)
class Program:
    """All stages of a student, in order, and one that codes nothing after them: it ends in the last refined map."""

    stages: tuple[Stage, ...]
    closing: Stage | None = None

    @property
    def all_stages(self) -> tuple[Stage, ...]:
        """The closing one too."""
        return (*self.stages, self.closing) if self.closing else self.stages

    @cached_property
    def by_name(self) -> dict[str, Stage]:
        """Stages by name."""
        return {stage.name: stage for stage in self.stages}

    def nodes(self) -> Iterator[Node]:
        """Every layer."""
        for stage in self.all_stages:
            yield from stage.nodes

    def kept(self, stage: Stage) -> tuple[str, ...]:
        """Maps of a stage that later ones read."""
        later = self.all_stages[self.all_stages.index(stage) + 1 :]
        return tuple(sorted(stage.made() & set().union(*(other.used() for other in later))))

    def taken(self, stage: Stage) -> tuple[str, ...]:
        """Maps of earlier stages that a stage reads."""
        return tuple(sorted(stage.used() - stage.made()))

    def receivers(self, name: str) -> list[tuple[Node, int]]:
        """Layers that read a map, and the number of the source that does."""
        return [(node, number) for node in self.nodes() for number, used in enumerate(node.inputs) if used == name]

    def evaluate(
        self,
        stage: Stage,
        arithmetic: Arithmetic,
        maps: Maps,
        symbols: Mapping[str, np.ndarray],
        means: Mapping[str, np.ndarray],
    ) -> np.ndarray:
        """Evaluate one stage.

        Args:
            stage: of this program.
            arithmetic: evaluates maps.
            maps: those of earlier stages; receives those of this one.
            symbols: latent -> int (C, h, w).
            means: stage name -> (h, w', C') in 1 / 32, of the stages before.

        Returns:
            (h, w', numbers), packed.
        """
        for entry in stage.entries:
            if isinstance(entry, Joined):
                maps[entry.name] = np.concatenate([maps[part] for part in entry.parts], axis=2)
                continue
            grid = symbols[entry.latent].transpose(1, 2, 0)
            if isinstance(entry, Hyper):
                maps[entry.name] = arithmetic.hyper(entry, grid)
                continue
            grid = grid[..., slice(*entry.channels)]
            mean, coded = np.zeros(grid.shape), np.full(grid.shape[:2], False)
            for name in entry.stages:
                other = self.by_name[name]
                coded |= other.mask(*grid.shape[:2])
                if other.means:
                    mean += other.unpack(means[name], grid.shape[1])
            maps[entry.name] = arithmetic.shifted(entry, grid * coded[..., None], mean)
        for node in stage.nodes:
            inputs = [maps[name] for name in node.inputs]
            height, width = inputs[0].shape[:2]
            mask = stage.mask(height, width) if node.packed else np.full((height, width), True)
            found = arithmetic.layer(node, inputs, mask)
            maps[node.name] = arithmetic.refined(maps[node.onto], found) if node.onto else found
        return stage.pack(maps[stage.nodes[-1].name])


@dataclass(frozen=True)
class Coded:
    """One pass as an encoder sees it: (h, w', numbers), symbols int64 (h, w', C')."""

    stage: Stage
    numbers: np.ndarray
    symbols: np.ndarray

    @property
    def scales(self) -> np.ndarray:
        """(h, w', C') float64, not bounded from below."""
        return self.numbers[..., : self.stage.count] / SCALE_UNIT


def encode(
    program: Program, arithmetic: Arithmetic, latents: Mapping[str, np.ndarray], values: np.ndarray
) -> list[Coded]:
    """Walk through all stages as an encoder does, rounding the values of each pass around its means.

    Args:
        program: of the student.
        arithmetic: evaluates maps.
        latents: symbols of latents without means, (C, h, w).
        values: float (C, h, w) of the latent that the stages code.

    Returns:
        The passes, in order.
    """
    maps: Maps = {}
    means: dict[str, np.ndarray] = {}
    found = []
    symbols = {**latents, program.stages[0].latent: np.zeros(values.shape, np.int64)}
    for stage in program.stages:
        numbers = program.evaluate(stage, arithmetic, maps, symbols, means)
        wanted = stage.pack(values[slice(*stage.channels)].transpose(1, 2, 0))
        if stage.means:
            means[stage.name] = numbers[..., stage.count :]
            wanted = wanted - means[stage.name] / MEAN_UNIT
        rounded = np.rint(wanted).astype(np.int64)
        part = symbols[stage.latent][slice(*stage.channels)]
        part += stage.unpack(rounded, values.shape[2]).transpose(2, 0, 1)
        found.append(Coded(stage, numbers, rounded))
    if program.closing:
        program.evaluate(program.closing, arithmetic, maps, symbols, means)
    return found


@dataclass
class FloatArithmetic:
    """The float model, which can remember what it met.

    Attributes:
        high, low: layer name -> (channels,) largest and lowest output before the leaky ReLU; phases side by side.
        peak: entry name -> largest magnitude of its symbols (`Hyper`) or values (`Shifted`).
    """

    high: dict[str, np.ndarray] = field(default_factory=dict)
    low: dict[str, np.ndarray] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)

    def hyper(self, entry: Hyper, symbols: np.ndarray) -> np.ndarray:
        """See `Arithmetic`."""
        self._note(entry.name, symbols)
        return symbols + entry.medians

    def shifted(self, entry: Shifted, symbols: np.ndarray, means: np.ndarray) -> np.ndarray:
        """See `Arithmetic`."""
        values = symbols + means / MEAN_UNIT
        self._note(entry.name, values)
        return values

    @torch.no_grad()
    def layer(self, node: Node, inputs: Sequence[np.ndarray], mask: np.ndarray) -> np.ndarray:
        """See `Arithmetic`."""
        batches = [torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1), np.float32))[None] for x in inputs]
        found = node.affine(*batches)[0].permute(1, 2, 0).double().numpy()
        seen = found[mask] if mask.shape == found.shape[:2] else found.reshape(-1, found.shape[2])
        high, low = seen.max(axis=0), seen.min(axis=0)
        self.high[node.name] = np.maximum(self.high.get(node.name, high), high)
        self.low[node.name] = np.minimum(self.low.get(node.name, low), low)
        return found if node.slope is None else np.where(found < 0, found * node.slope, found)

    def refined(self, base: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """See `Arithmetic`."""
        return base + np.clip(residual, -REFINED_LIMIT, REFINED_LIMIT) / MEAN_UNIT

    def ranges(self) -> Ranges:
        """What was met, for a `LayerBuilder`."""
        return Ranges(self.high, self.low, 0, 0)

    def _note(self, name: str, values: np.ndarray) -> None:
        self.peak[name] = max(self.peak.get(name, 0.0), float(np.abs(values).max(initial=0)))
