from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastlic.errors import CertificateError
from fastlic.export.integer.certificate import EXACT, certificate_of, certify, product_bound, worst_sign_input
from fastlic.export.integer.lattice import Activation, Layer, Product


def layer_of(weight: int, limit: int, rows: int = 4) -> Layer:
    product = Product(0, ((0, 0),), (0, rows), np.full((rows, 1), weight), np.array([0]), np.full(rows, limit))
    return Layer("layer", (product,), np.array([0]), np.array([0]), Activation(0, 100, 0, 10))


def test_bound_is_reached_by_the_worst_sign_input(tiny_converted) -> None:
    for layer in tiny_converted.quantised.network.layers():
        for product in layer.products:
            bounds = product_bound(product)
            for output in range(0, product.weight.shape[1], 7):
                x = worst_sign_input(product, output)
                assert x @ product.weight[:, output] == bounds[output]


def test_certificate_states_the_bound_of_a_layer() -> None:
    assert certificate_of(layer_of(weight=-100, limit=50)).products == (20_000,)


def test_certificate_of_a_converted_network_holds_everywhere(variant_converted) -> None:
    certificates = certify(variant_converted.quantised.network)

    assert {layer.name for layer in variant_converted.folded.layers()} == set(certificates)
    assert all(certificate.worst < EXACT for certificate in certificates.values())


def test_layer_at_the_bound_is_refused_and_named(tiny_converted) -> None:
    network = tiny_converted.quantised.network
    first = network.trunk[0]
    heavy = replace(first.products[0], weight=first.products[0].weight * 10_000)
    broken = replace(network, trunk=(replace(first, products=(heavy,)), *network.trunk[1:]))

    with pytest.raises(CertificateError, match=r"h_s\.0: a sum can reach \d+"):
        certify(broken)


def test_input_wider_than_the_certificate_assumes_is_refused(tiny_converted) -> None:
    wider = replace(tiny_converted.quantised.network, latent_limit=tiny_converted.quantised.network.latent_limit + 1)

    with pytest.raises(CertificateError, match=r"pen_nonanchor\.0: its inputs can be larger"):
        certify(wider)
