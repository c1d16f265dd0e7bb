"""Integer layers and the integer network, with the evaluation that is their definition.

Knows integers only. The ONNX graphs of `emission` compute the same in float32 tensors that hold integers; this
evaluation is their oracle, so it is written differently: whole grids and masks where the graphs use packed phases.
Rule: docs/exactness.md. Source of the idea: sums of integers below 2^24 are exact in float32 in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastlic.export.integer.affine import Taps
from fastlic.export.integer.folding import HYPER_UNIT

INT16 = 32767


@dataclass(frozen=True)
class Product:
    """One exact matrix product of a layer: a contiguous part of the fan-in of one input.

    Attributes:
        source: which of the layer's inputs it reads.
        taps: (row, column) displacements.
        channels: [first, last + 1) of that input.
        weight: int64 (taps * channels, outputs), taps outermost.
        shift: int64 (outputs,): the accumulator counts units of 2^-shift of the output.
        limit: int64 (channels,): largest magnitude of each input channel.
    """

    source: int
    taps: Taps
    channels: tuple[int, int]
    weight: np.ndarray
    shift: np.ndarray
    limit: np.ndarray

    @property
    def row_limit(self) -> np.ndarray:
        """`limit` for each row of `weight`, (taps * channels,)."""
        return np.tile(self.limit, len(self.taps))


@dataclass(frozen=True)
class Activation:
    """min(max(q, low), high), then, for negative q, floor(q * slope / 2^slope_shift); slope <= 2^slope_shift."""

    low: int
    high: int
    slope: int
    slope_shift: int

    def __call__(self, q: np.ndarray) -> np.ndarray:
        """Integers of any shape."""
        q = np.clip(q, self.low, self.high)
        return np.maximum(q, (q * self.slope) >> self.slope_shift)


@dataclass(frozen=True)
class Layer:
    """floor((sum over products of floor(acc * 2^(fraction - shift)) + bias) / 2^fraction), then the activation.

    With one product `fraction` is its shift and nothing is rounded twice. `bias` includes the half that makes the
    floor a rounding. A layer without activation is the last of a chain: its outputs are int16 parameters, limited to
    +-32767.

    Attributes:
        bias: int64 (outputs,).
        fraction: int64 (outputs,), at least 0.
        upsample: outputs are four phases, (0, 0), (0, 1), (1, 0), (1, 1), of outputs / 4 channels.
    """

    name: str
    products: tuple[Product, ...]
    bias: np.ndarray
    fraction: np.ndarray
    activation: Activation | None
    upsample: bool = False

    def total(self, *inputs: np.ndarray) -> np.ndarray:
        """The sum before the last rounding, in units of 2^-fraction; int64 (h, w, outputs) from (h, w, C) each."""
        return np.asarray(self.bias + sum(self.part(source, x) for source, x in enumerate(inputs)))

    def part(self, source: int, x: np.ndarray) -> np.ndarray:
        """What one input (h, w, C) adds to `total`."""
        total = np.zeros((*x.shape[:2], len(self.bias)), np.int64)
        for product in self.products:
            if product.source == source:
                taken = _neighbours(x[..., slice(*product.channels)], product.taps)
                total += _scaled(_exact_product(taken, product.weight), self.fraction - product.shift)
        return total

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """int64 (h, w, C) each -> (h, w, outputs), or (2h, 2w, outputs / 4) with `upsample`."""
        return self.finish(self.total(*inputs))

    def finish(self, total: np.ndarray) -> np.ndarray:
        """Round, limit and interleave what `total` gave."""
        q = total >> self.fraction
        q = np.clip(q, -INT16, INT16) if self.activation is None else self.activation(q)
        if not self.upsample:
            return q
        height, width, outputs = q.shape
        phases = q.reshape(height, width, 2, 2, outputs // 4)
        return phases.transpose(0, 2, 1, 3, 4).reshape(2 * height, 2 * width, -1)


@dataclass(frozen=True)
class IntegerNetwork:
    """The entropy networks on the lattice; chains as in `FoldedNetwork`.

    Attributes:
        medians: int64 (hyper channels,), Q5.
        hyper_limit: the hyper latent is clipped to +- this.
        latent_limit: the latent that the context sees is clipped to +- this.
        parity: (row + column) % 2 of anchors.
    """

    trunk: tuple[Layer, ...]
    anchor: tuple[Layer, ...]
    nonanchor: tuple[Layer, ...]
    medians: np.ndarray
    hyper_limit: int
    latent_limit: int
    parity: int

    def layers(self) -> tuple[Layer, ...]:
        """All layers, in order of evaluation."""
        return self.trunk + self.anchor + self.nonanchor

    @property
    def latent_channels(self) -> int:
        """M."""
        return max(product.channels[1] for product in self.nonanchor[0].products if product.source == 1)

    def enter(self, z: np.ndarray) -> np.ndarray:
        """Hyper latent (C, h, w) integers -> the first layer's input, int64 (h, w, C), in 1/32."""
        clipped = np.clip(z.astype(np.int64), -self.hyper_limit, self.hyper_limit)
        return HYPER_UNIT * clipped.transpose(1, 2, 0) + self.medians

    def evaluate(self, z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The parameters that a decoder codes with.

        Args:
            z: (hyper channels, h / 4, w / 4) integers.
            y: (M, h, w) integers; only anchors are looked at.

        Returns:
            int64 (h, w / 2, M, 30) of anchors and (h, w / 2, M, 9) of non-anchors, in the order and units of
            docs/format.md 4.2.
        """
        return self.rounded(self.totals(z, y))

    def rounded(self, totals: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """What `totals` gave -> what `evaluate` gives."""
        return self.parameters(self.anchor, totals[0]), self.parameters(self.nonanchor, totals[1])

    def parameters(self, chain: tuple[Layer, ...], total: np.ndarray) -> np.ndarray:
        """The total of a chain's last layer -> its rounded numbers, by latent channel."""
        return chain[-1].finish(total).reshape(*total.shape[:2], self.latent_channels, -1)

    def totals(self, z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `evaluate`, before the last layers' rounding: what `Layer.total` gives, (h, w / 2, M * numbers)."""
        anchors, shared = self.from_hyper(z)
        return anchors, self.from_context(shared, y)

    def from_hyper(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the hyper latent alone decides.

        Returns:
            int64: the totals of anchors, and what the non-anchors' first layer gets of it, bias included, in units of
            2^-fraction, (h, w / 2, width).
        """
        features = self.enter(z)
        for layer in self.trunk:
            features = layer(features)
        first = self.nonanchor[0]
        anchors = self._at(self.parity, self.anchor[0](features))
        return _rest(self.anchor, anchors), self._at(1 - self.parity, first.bias + first.part(0, features))

    def from_context(self, shared: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The totals of non-anchors: `shared` as `from_hyper` gives it, y (M, h, w) of which anchors are looked at."""
        rows, columns = np.indices(y.shape[1:])
        at_anchor = (rows + columns) % 2 == self.parity
        latent = np.clip(y.astype(np.int64), -self.latent_limit, self.latent_limit) * at_anchor
        first = self.nonanchor[0]
        context = self._at(1 - self.parity, first.part(1, latent.transpose(1, 2, 0)))
        return _rest(self.nonanchor, first.finish(shared + context))

    @staticmethod
    def _at(parity: int, grid: np.ndarray) -> np.ndarray:
        """(h, w, C) -> (h, w / 2, C)."""
        height, width = grid.shape[:2]
        rows, columns = np.indices((height, width))
        return grid[(rows + columns) % 2 == parity].reshape(height, width // 2, -1)


def _rest(chain: tuple[Layer, ...], x: np.ndarray) -> np.ndarray:
    """What the first layer of a chain gave -> the total of its last."""
    for layer in chain[1:-1]:
        x = layer(x)
    return chain[-1].total(x)


def _neighbours(x: np.ndarray, taps: Taps) -> np.ndarray:
    """(h, w, C) -> (h, w, taps * C): each tap's displaced map, zero outside."""
    reach = max(max(abs(row), abs(column)) for row, column in taps)
    height, width = x.shape[:2]
    padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)))
    parts = [padded[reach + i : reach + i + height, reach + j : reach + j + width] for i, j in taps]
    return np.concatenate(parts, axis=2)


def _exact_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """int64 matrix product by way of float64, which is exact while no sum can reach 2^53; asserted, not assumed."""
    bound = int(np.abs(a).max(initial=0)) * int(np.abs(b).sum(axis=0).max(initial=0))
    if bound >= 1 << 53:
        raise OverflowError(f"a sum could reach {bound}, more than float64 holds exactly")
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)


def _scaled(values: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """floor(values * 2^exponent), per column."""
    return (values << np.maximum(exponent, 0)) >> np.maximum(-exponent, 0)
