"""Post-training quantisation: a folded float network and calibration latents to an integer network.

Knows how steps, shifts and limits are chosen; what the numbers then mean is `lattice`'s matter, whether they are
exact `certificate`'s.

Every activation channel has its own step, its calibrated peak divided by a number of levels common to the layer; the
next layer's weights absorb the steps. Measured on the reference student over six Kodak pictures, weights 8 bit: 256
levels with one step per layer cost 0.69 % of the bits, 256 levels with steps per channel 0.01 %. So one product of
8-bit weights and 11-bit activations stays below 2^24 where one step per layer would need two planes. Where a sum
would not stay below, its fan-in is cut into parts that are rounded before they are added: that costs additions, where
a second plane would double the multiplications.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from fastlic.errors import CertificateError
from fastlic.export.integer.affine import Affine, Source, Taps
from fastlic.export.integer.certificate import EXACT, certificate_of, product_bound
from fastlic.export.integer.folding import HYPER_UNIT, FoldedNetwork
from fastlic.export.integer.lattice import Activation, IntegerNetwork, Layer, Product

WEIGHT_PEAK = 127
LEVELS = (2047, 1023, 511)
"""Of an activation, finest first: the first is taken that leaves each receiver one product below 2^24."""
PARTED_LEVELS = 1023
"""Where none does: the receivers' fan-in is cut into parts."""
HEADROOM = 1.5
"""Activations are clipped at this multiple of the largest value met in calibration."""
PRODUCT_LIMIT = EXACT - EXACT // 16
"""Leaves room for the bias below 2^24."""
BIAS_LIMIT = EXACT // 32
SLOPE_SHIFT = 10
SHIFT_RANGE = (-12, 20)
FRACTIONS = (2, 8)
"""Fewest and most bits kept below a layer's unit where several products are added."""


@dataclass(frozen=True)
class Ranges:
    """Largest and lowest value of every channel before the leaky ReLU, by layer, and of the latents.

    `high` and `low` map layer names to (channels,) float64.
    """

    high: dict[str, np.ndarray]
    low: dict[str, np.ndarray]
    hyper: int
    latent: int


@dataclass(frozen=True)
class Quantised:
    """An integer network, the real step of each layer's outputs, and of each of its inputs, by layer name."""

    network: IntegerNetwork
    output_steps: dict[str, np.ndarray]
    input_steps: dict[str, tuple[np.ndarray, ...]]


def calibrate(folded: FoldedNetwork, latents: Iterable[tuple[np.ndarray, np.ndarray]]) -> Ranges:
    """Observe a float network on (z, y) integer latents, shapes as in `FoldedNetwork.evaluate`."""
    high: dict[str, np.ndarray] = {}
    low: dict[str, np.ndarray] = {}
    hyper = latent = 0
    for z, y in latents:
        hyper, latent = max(hyper, int(np.abs(z).max())), max(latent, int(np.abs(y).max()))
        record: dict[str, Tensor] = {}
        folded.evaluate(z, y, record)
        for name, output in record.items():
            top, bottom = output.double().amax((0, 2, 3)).numpy(), output.double().amin((0, 2, 3)).numpy()
            high[name] = np.maximum(high.get(name, top), top)
            low[name] = np.minimum(low.get(name, bottom), bottom)
    return Ranges(high, low, hyper, latent)


def quantise(folded: FoldedNetwork, ranges: Ranges) -> Quantised:
    """Put a network on the integer lattice.

    Raises:
        CertificateError: no choice of levels keeps a layer's sums below 2^24.
    """
    final = {folded.anchor[-1].name, folded.nonanchor[-1].name}
    builder = LayerBuilder(
        ranges, {layer.name: None if layer.name in final else folded.slope for layer in folded.layers()}
    )
    medians = np.round(HYPER_UNIT * folded.medians).astype(np.int64)
    hyper_steps = np.full(len(medians), 1 / HYPER_UNIT)

    hyper_limit = limit_of(ranges.hyper)
    signal = Signal(hyper_steps, HYPER_UNIT * hyper_limit + np.abs(medians))
    trunk, signal = builder.chain(folded.trunk, (signal,), followers=(folded.anchor[0], folded.nonanchor[0]))
    anchor, _ = builder.chain(folded.anchor, (signal,))
    latent_limit = limit_of(ranges.latent)
    channels = folded.nonanchor[0].sources[1].weight.shape[1]
    latent = Signal(np.ones(channels), np.full(channels, latent_limit))
    nonanchor, _ = builder.chain(folded.nonanchor, (signal, latent))
    network = IntegerNetwork(trunk, anchor, nonanchor, medians, hyper_limit, latent_limit, folded.parity)
    return Quantised(network, builder.output_steps, builder.input_steps)


def with_quantised_weights(folded: FoldedNetwork, quantised: Quantised) -> FoldedNetwork:
    """The float network with the integer network's weights, biases, medians and slope."""

    def restored(affine: Affine, layer: Layer) -> Affine:
        outputs = quantised.output_steps[layer.name]
        sources = []
        for number, (source, steps) in enumerate(zip(affine.sources, quantised.input_steps[layer.name], strict=True)):
            weight = np.zeros_like(source.weight)
            for product in layer.products:
                if product.source == number:
                    rows = [source.taps.index(tap) for tap in product.taps]
                    real = product.weight * np.exp2(-product.shift.astype(float)) * outputs
                    weight[rows, slice(*product.channels)] = real.reshape(len(rows), -1, len(outputs))
            sources.append(Source(source.taps, weight / steps[:, None]))
        half = np.where(layer.fraction > 0, np.exp2(layer.fraction - 1.0), 0)
        bias = (layer.bias - half) * np.exp2(-layer.fraction.astype(float)) * outputs
        return replace(affine, sources=tuple(sources), bias=bias)

    network = quantised.network

    def chain(affines: tuple[Affine, ...], layers: tuple[Layer, ...]) -> tuple[Affine, ...]:
        return tuple(restored(affine, layer) for affine, layer in zip(affines, layers, strict=True))

    return replace(
        folded,
        trunk=chain(folded.trunk, network.trunk),
        anchor=chain(folded.anchor, network.anchor),
        nonanchor=chain(folded.nonanchor, network.nonanchor),
        medians=network.medians / HYPER_UNIT,
        slope=_integer_slope(folded.slope) / (1 << SLOPE_SHIFT),
    )


@dataclass(frozen=True)
class Signal:
    """An input: real step and largest integer magnitude per channel."""

    steps: np.ndarray
    limit: np.ndarray


class LayerBuilder:
    """Builds layers one after the other, remembering steps.

    Args:
        ranges: of every layer that has an activation.
        slopes: layer name -> slope of its leaky ReLU, 1 where it is only rounded; None where the layer is a chain's
            last, whose outputs are parameters in the units that its weights give them.
    """

    def __init__(self, ranges: Ranges, slopes: Mapping[str, float | None]) -> None:
        self.slopes, self.ranges = slopes, ranges
        self.output_steps: dict[str, np.ndarray] = {}
        self.input_steps: dict[str, tuple[np.ndarray, ...]] = {}

    def chain(
        self, affines: tuple[Affine, ...], inputs: tuple[Signal, ...], followers: tuple[Affine, ...] = ()
    ) -> tuple[tuple[Layer, ...], Signal]:
        """Layers of a chain and what the last one delivers; `followers` consume that, if it is not final."""
        layers = []
        for position, affine in enumerate(affines):
            receivers = affines[position + 1 : position + 2] or followers
            layer, output = self.add(affine, inputs, [(receiver, 0) for receiver in receivers])
            layers.append(layer)
            inputs = (output,)
        return tuple(layers), output

    def add(
        self, affine: Affine, inputs: tuple[Signal, ...], receivers: Sequence[tuple[Affine, int]]
    ) -> tuple[Layer, Signal]:
        """One layer, and what it delivers.

        Args:
            affine: the layer.
            inputs: one per source.
            receivers: (layer, number of its source) for each that takes the output.
        """
        final = self.slopes[affine.name] is None
        for activation, steps in [(None, np.ones(len(affine.bias)))] if final else self._activations(affine):
            layer, steps = _layer(affine, inputs, steps, activation)
            output = Signal(steps, np.full(len(steps), certificate_of(layer).output))
            if all(self.fits(receiver, number, output) for receiver, number in receivers):
                break
        self.output_steps[affine.name] = np.resize(steps, len(affine.bias))
        self.input_steps[affine.name] = tuple(signal.steps for signal in inputs)
        return layer, output

    def _peaks(self, affine: Affine, slope: float) -> tuple[np.ndarray, np.ndarray]:
        """Per channel the largest magnitude after the leaky ReLU, never 0, and the largest negative one before it."""
        high, low = np.maximum(self.ranges.high[affine.name], 0), np.maximum(-self.ranges.low[affine.name], 0)
        peak = np.maximum(high, slope * low)
        floor = max(float(np.median(peak)) / 64, 1e-6)
        return HEADROOM * np.maximum(peak, floor), HEADROOM * low

    def _activations(self, affine: Affine) -> Iterator[tuple[Activation, np.ndarray]]:
        """Activations and output steps per channel, in order of preference."""
        real = self.slopes[affine.name] or 0.0
        peak, negative = self._peaks(affine, real)
        slope = _integer_slope(real)
        for levels in (*LEVELS, PARTED_LEVELS):
            low = int(np.ceil((negative * levels / peak).max()))
            low = min(low, (levels << SLOPE_SHIFT) // slope) if slope else 0
            yield Activation(-low, levels, slope, SLOPE_SHIFT), peak / levels

    def fits(self, receiver: Affine, number: int, signal: Signal) -> bool:
        """Whether one product of `receiver` can take its input `number` so.

        Its own steps are not known yet, but change its weights by little more than powers of two.
        """
        slope = self.slopes[receiver.name]
        columns = np.ones(len(receiver.bias)) if slope is None else self._peaks(receiver, slope)[0]
        return len(_products(number, receiver, signal, np.resize(columns, len(receiver.bias)))) == 1


def limit_of(observed: int) -> int:
    """A clip of a latent at least twice what was observed: 2^n - 1."""
    return int((1 << max(2 * observed, 16).bit_length()) - 1)


def _integer_slope(slope: float) -> int:
    return round(slope * (1 << SLOPE_SHIFT))


def _on_lattice(
    source: Source, steps: np.ndarray, columns: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Integer weights (taps * inputs, outputs) of at most 8 bits, and per output the shift that uses them best.

    Where weights are tiny beside the bias, the shift is limited so that the bias, in the same unit, stays small.
    """
    real = (source.weight * steps[:, None] / columns).reshape(-1, len(columns))
    peak = np.maximum(np.abs(real).max(axis=0), 1e-30)
    shift = np.minimum(np.log2(WEIGHT_PEAK / peak), np.log2(BIAS_LIMIT / (np.abs(bias) / columns + 1)))
    shift = np.clip(np.floor(shift), *SHIFT_RANGE)
    return np.round(real * np.exp2(shift)).astype(np.int64), shift.astype(np.int64)


def _layer(
    affine: Affine, inputs: tuple[Signal, ...], steps: np.ndarray, activation: Activation | None
) -> tuple[Layer, np.ndarray]:
    """One layer, and its output's step per channel: that asked for, or coarser where a sum needs it.

    A channel that calibration saw negative only has a tiny step against sums, or a bias, that could be large.
    """
    products, bound = _all_products(affine, inputs, np.resize(steps, len(affine.bias)))
    spare = FRACTIONS[0] if len(products) > 1 else 0
    needed = np.maximum(np.ceil(np.log2(bound * (1 << spare) / PRODUCT_LIMIT)), 0)
    if activation is not None and needed.any():  # the unit of parameters is given
        steps = steps * np.exp2(needed.reshape(-1, len(steps)).max(axis=0))
        products, bound = _all_products(affine, inputs, np.resize(steps, len(affine.bias)))
    if len(products) > 1:
        fraction = np.clip(np.floor(np.log2(PRODUCT_LIMIT / bound)), *FRACTIONS).astype(np.int64)
    else:
        fraction = np.maximum(products[0].shift, 0)
    half = np.where(fraction > 0, np.exp2(fraction - 1.0), 0)
    bias = np.round(affine.bias / np.resize(steps, len(affine.bias)) * np.exp2(fraction) + half).astype(np.int64)
    return Layer(affine.name, tuple(products), bias, fraction, activation, affine.upsample), steps


def _all_products(affine: Affine, inputs: tuple[Signal, ...], columns: np.ndarray) -> tuple[list[Product], np.ndarray]:
    """The products of all sources, and per output the largest magnitude of their sum with the bias, in its unit."""
    products = [
        product for number, signal in enumerate(inputs) for product in _products(number, affine, signal, columns)
    ]
    bound = np.abs(affine.bias) / columns + len(products)
    for product in products:
        bound = bound + product_bound(product) * np.exp2(-product.shift.astype(float))
    return products, bound


def _products(number: int, affine: Affine, signal: Signal, columns: np.ndarray) -> list[Product]:
    """One product for one source, or as many parts of its fan-in as keep each below the limit."""
    source = affine.sources[number]
    weight, shift = _on_lattice(source, signal.steps, columns, affine.bias)
    channels = source.weight.shape[1]
    blocks = weight.reshape(len(source.taps), channels, -1)
    for tap_parts, channel_parts in _partitions(len(source.taps), channels):
        found = []
        for tap_part in np.array_split(np.arange(len(source.taps)), tap_parts):
            for channel_part in np.array_split(np.arange(channels), channel_parts):
                first, end = int(channel_part[0]), int(channel_part[-1]) + 1
                taps: Taps = tuple(source.taps[tap] for tap in tap_part)
                part = blocks[tap_part, first:end].reshape(-1, len(columns))
                found.append(Product(number, taps, (first, end), part, shift, signal.limit[first:end]))
        if max(int(product_bound(product).max()) for product in found) < PRODUCT_LIMIT:
            return found
    raise CertificateError(
        f"a single input channel of {int(signal.limit.max())} levels exceeds 2^24. Scale the checkpoint."
    )


def _partitions(taps: int, channels: int) -> Iterator[tuple[int, int]]:
    yield from ((parts, 1) for parts in range(1, taps + 1))
    parts = 2
    while parts < 2 * channels:
        yield taps, min(parts, channels)
        parts *= 2
