"""A program on the integer lattice: its layers, the limits of what enters it, and their proof.

Knows how the parts of a program are quantised one after the other and how they are evaluated in integers, which is the
oracle of the graphs that `stages` emits. Layers themselves are `quantisation`'s and `lattice`'s matter.
Rule: docs/exactness.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastlic.export.integer.certificate import Connection, LayerCertificate, certify_layers, delivered_by
from fastlic.export.integer.folding import HYPER_UNIT
from fastlic.export.integer.lattice import Layer
from fastlic.export.integer.program import (
    MEAN_UNIT,
    REFINED_LIMIT,
    FloatArithmetic,
    Hyper,
    Joined,
    Maps,
    Node,
    Program,
    Shifted,
    Stage,
)
from fastlic.export.integer.quantisation import HEADROOM, LayerBuilder, Signal, limit_of
from fastlic.runtime.entropy.tables import MAX_VALUE


@dataclass(frozen=True)
class Lattice:
    """An integer program.

    Attributes:
        program: its structure.
        layers: node name -> layer.
        limits: entry name -> largest magnitude: of symbols for a `Hyper`, in 1 / 32 for a `Shifted`.
        medians: `Hyper` entry name -> int64 (C,), Q5.
    """

    program: Program
    layers: Mapping[str, Layer]
    limits: Mapping[str, int]
    medians: Mapping[str, np.ndarray]

    def hyper(self, entry: Hyper, symbols: np.ndarray) -> np.ndarray:
        """See `Arithmetic`."""
        limit = self.limits[entry.name]
        return HYPER_UNIT * np.clip(symbols.astype(np.int64), -limit, limit) + self.medians[entry.name]

    def shifted(self, entry: Shifted, symbols: np.ndarray, means: np.ndarray) -> np.ndarray:
        """See `Arithmetic`."""
        limit = self.limits[entry.name]
        symbols = np.clip(symbols.astype(np.int64), -MAX_VALUE, MAX_VALUE)
        return np.clip(MEAN_UNIT * symbols + means.astype(np.int64), -limit, limit)

    def layer(self, node: Node, inputs: Sequence[np.ndarray], mask: np.ndarray) -> np.ndarray:
        """See `Arithmetic`; every element is computed."""
        return self.layers[node.name](*inputs)

    def refined(self, base: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """See `Arithmetic`."""
        return base + np.clip(residual, -REFINED_LIMIT, REFINED_LIMIT)

    def evaluate(
        self, stage: Stage, maps: Maps, symbols: Mapping[str, np.ndarray], means: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """As `Program.evaluate`, in integers."""
        return self.program.evaluate(stage, self, maps, symbols, means)

    def certify(self) -> dict[str, LayerCertificate]:
        """Prove every layer.

        Raises:
            CertificateError: a bound reaches 2^24, or a layer may be fed more than its own bound assumes.
        """
        delivered: dict[str, np.ndarray] = {}
        connections: list[Connection] = []
        for stage in self.program.all_stages:
            for entry in stage.entries:
                delivered[entry.name] = self._entering(entry, delivered)
            for node in stage.nodes:
                layer = self.layers[node.name]
                connections += [(delivered[name], number, layer) for number, name in enumerate(node.inputs)]
                delivered[node.name] = delivered[node.onto] + REFINED_LIMIT if node.onto else delivered_by(layer)
        return certify_layers(self.layers.values(), connections)

    def _entering(self, entry: Hyper | Shifted | Joined, delivered: Mapping[str, np.ndarray]) -> np.ndarray:
        """Largest magnitude per channel of an entry's map."""
        if isinstance(entry, Joined):
            return np.concatenate([delivered[part] for part in entry.parts])
        if isinstance(entry, Hyper):
            return HYPER_UNIT * self.limits[entry.name] + np.abs(self.medians[entry.name])
        return np.full(entry.channels[1] - entry.channels[0], self.limits[entry.name])


def quantised(program: Program, met: FloatArithmetic) -> Lattice:
    """Put a program on the lattice.

    Args:
        program: the float model.
        met: what calibration met in all of its stages.

    Raises:
        CertificateError: no choice of levels keeps a layer's sums below 2^24.
    """
    builder = LayerBuilder(met.ranges(), {node.name: node.slope for node in program.nodes()})
    layers: dict[str, Layer] = {}
    limits: dict[str, int] = {}
    medians: dict[str, np.ndarray] = {}
    signals: dict[str, Signal] = {}
    for stage in program.all_stages:
        for entry in stage.entries:
            if isinstance(entry, Joined):
                parts = [signals[part] for part in entry.parts]
                joined = (np.concatenate([getattr(part, key) for part in parts]) for key in ("steps", "limit"))
                signals[entry.name] = Signal(*joined)
            elif isinstance(entry, Hyper):
                limit = limits[entry.name] = limit_of(int(met.peak[entry.name]))
                values = medians[entry.name] = np.round(HYPER_UNIT * entry.medians).astype(np.int64)
                signals[entry.name] = Signal(np.full(len(values), 1 / HYPER_UNIT), HYPER_UNIT * limit + np.abs(values))
            else:
                limit = limits[entry.name] = max(int(HEADROOM * MEAN_UNIT * met.peak[entry.name]), MEAN_UNIT)
                count = entry.channels[1] - entry.channels[0]
                signals[entry.name] = Signal(np.full(count, 1 / MEAN_UNIT), np.full(count, limit))
        for node in stage.nodes:
            # What a refining layer delivers is in 1 / 32 whoever reads it.
            receivers = [] if node.onto else program.receivers(node.name)
            inputs = tuple(signals[name] for name in node.inputs)
            reading = [(receiver.affine, number) for receiver, number in receivers]
            layers[node.name], signals[node.name] = builder.add(node.affine, inputs, reading)
            if node.onto:
                base = signals[node.onto]
                signals[node.name] = Signal(base.steps, base.limit + REFINED_LIMIT)
    return Lattice(program, layers, limits, medians)
