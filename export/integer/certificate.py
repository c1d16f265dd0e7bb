"""The proof that an integer layer is exact in float32 whatever the order of its sums, and what stresses it most.

Knows bounds; knows nothing of calibration: a bound rests on the limits that the graph enforces with Clip, never on
values that were observed. Rule: docs/exactness.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fastlic.errors import CertificateError
from fastlic.export.integer.folding import HYPER_UNIT
from fastlic.export.integer.lattice import INT16, Activation, IntegerNetwork, Layer, Product

EXACT = 1 << 24
"""Integers below this, and their sums while below it, are exact in float32."""

Connection = tuple[np.ndarray, int, Layer]
"""An edge: largest magnitude delivered per channel, number of the receiver's source, receiving layer."""


@dataclass(frozen=True)
class LayerCertificate:
    """Largest magnitudes that can occur in one layer; each must be below 2^24.

    Attributes:
        products: per product, max over outputs of sum |weight| * max |input|: no partial sum, in any order, is larger.
        total: max over outputs of the sum over products, rescaled to 2^-fraction, plus |bias|.
        activation: max |q| * slope, the multiplication inside the leaky ReLU; 0 without one.
        output: max |q| of what leaves the layer.
    """

    products: tuple[int, ...]
    total: int
    activation: int
    output: int

    @property
    def worst(self) -> int:
        """The largest of the bounds that must stay below 2^24."""
        return max(*self.products, self.total, self.activation)


def product_bound(product: Product) -> np.ndarray:
    """(outputs,) int64: sum |weight| * max |input|."""
    return np.asarray(np.abs(product.weight).T @ product.row_limit)


def certificate_of(layer: Layer) -> LayerCertificate:
    """The bounds of one layer; they are stated, not judged."""
    bounds = [product_bound(product) for product in layer.products]
    total = np.abs(layer.bias)
    for product, bound in zip(layer.products, bounds, strict=True):
        exponent = layer.fraction - product.shift
        # A floor of a negative number moves it away from zero by less than one unit.
        total = total + (bound << np.maximum(exponent, 0)) // (1 << np.maximum(-exponent, 0)) + (exponent < 0)
    rounded = int(((total >> layer.fraction) + 1).max())
    activation = layer.activation
    if activation is None:
        return LayerCertificate(tuple(int(bound.max()) for bound in bounds), int(total.max()), 0, min(rounded, INT16))
    return LayerCertificate(
        products=tuple(int(bound.max()) for bound in bounds),
        total=int(total.max()),
        activation=max(-activation.low, activation.high) * activation.slope,
        output=max(activation.high, -leaked(activation)),
    )


def leaked(activation: Activation) -> int:
    """The lowest value that leaves an activation."""
    return int(activation(np.array(activation.low)))


def certify(network: IntegerNetwork) -> dict[str, LayerCertificate]:
    """Prove every layer of a network. Raises as `certify_layers`."""
    return certify_layers(network.layers(), _connections(network))


def certify_layers(layers: Iterable[Layer], connections: Iterable[Connection]) -> dict[str, LayerCertificate]:
    """Prove layers.

    Args:
        layers: in any order.
        connections: every edge between them, and into them.

    Returns:
        Layer name -> bounds.

    Raises:
        CertificateError: a bound reaches 2^24, or a layer may be fed more than its own bound assumes.
    """
    found = {}
    for layer in layers:
        found[layer.name] = certificate_of(layer)
        if found[layer.name].worst >= EXACT:
            raise CertificateError(
                f"{layer.name}: a sum can reach {found[layer.name].worst}, {EXACT} is the limit of exact float32 sums. "
                "Calibrate on pictures like those of training (--calibration), or train with weight decay."
            )
    for delivered, source, receiver in connections:
        for product in receiver.products:
            if product.source == source and (product.limit < delivered[slice(*product.channels)]).any():
                raise CertificateError(f"{receiver.name}: its inputs can be larger than its certificate assumes.")
    return found


def worst_sign_input(product: Product, output: int) -> np.ndarray:
    """The input on which one output of a product reaches its bound: (taps * channels,) int64, sign(weight) * limit."""
    return np.where(product.weight[:, output] < 0, -1, 1) * product.row_limit


def _connections(network: IntegerNetwork) -> list[Connection]:
    """Every edge of the network."""
    entered = HYPER_UNIT * network.hyper_limit + np.abs(network.medians)
    edges: list[Connection] = [(entered, 0, network.trunk[0])]
    for chain in (network.trunk, network.anchor, network.nonanchor):
        edges += [(delivered_by(a), 0, b) for a, b in pairwise(chain)]
    features = delivered_by(network.trunk[-1])
    edges += [(features, 0, network.anchor[0]), (features, 0, network.nonanchor[0])]
    latent = np.full(network.latent_channels, network.latent_limit)
    return [*edges, (latent, 1, network.nonanchor[0])]


def delivered_by(layer: Layer) -> np.ndarray:
    """(channels,) the largest magnitude that leaves a layer."""
    channels = len(layer.bias) // 4 if layer.upsample else len(layer.bias)
    return np.full(channels, certificate_of(layer).output)
