from __future__ import annotations

import numpy as np
import pytest

from fastlic.export.integer.lattice import Activation, Layer, Product


def plain_layer(x: np.ndarray, layer: Layer) -> np.ndarray:
    """The definition of `Layer` with Python's integers, one number after the other."""
    height, width, _ = x.shape
    result = np.zeros((height, width, len(layer.bias)), object)
    for r, c, o in np.ndindex(*result.shape):
        total = int(layer.bias[o])
        for product in layer.products:
            accumulated, row = 0, 0
            for dy, dx in product.taps:
                for channel in range(*product.channels):
                    if 0 <= r + dy < height and 0 <= c + dx < width:
                        accumulated += int(product.weight[row, o]) * int(x[r + dy, c + dx, channel])
                    row += 1
            shift = int(layer.fraction[o] - product.shift[o])
            total += accumulated << shift if shift >= 0 else accumulated >> -shift
        q = total >> int(layer.fraction[o])
        assert layer.activation is not None
        q = min(max(q, layer.activation.low), layer.activation.high)
        result[r, c, o] = q if q >= 0 else (q * layer.activation.slope) >> layer.activation.slope_shift
    return result


@pytest.mark.parametrize("parts", [1, 2])
def test_layer_equals_its_definition_in_plain_integers(parts: int) -> None:
    generator = np.random.default_rng(parts)
    taps = ((-1, 0), (0, 0), (0, 1), (1, -1))
    limit = np.full(3, 200)
    products = tuple(
        Product(
            0, chosen, (0, 3), generator.integers(-127, 128, (3 * len(chosen), 5)), np.array([3, 9, 0, -1, 6]), limit
        )
        for chosen in (taps[: 4 // parts], taps[4 // parts :])[:parts]
    )
    fraction = np.maximum(products[0].shift, 0) if parts == 1 else np.full(5, 4)
    layer = Layer("layer", products, generator.integers(-900, 900, 5), fraction, Activation(-4000, 90, 10, 10))
    x = generator.integers(-200, 201, (4, 3, 3))

    np.testing.assert_array_equal(layer(x), plain_layer(x, layer))


def test_activation_floors_negative_values() -> None:
    activation = Activation(low=-300, high=50, slope=10, slope_shift=10)

    assert activation(np.array([-9999, -300, -1, 0, 7, 51])).tolist() == [-3, -3, -1, 0, 7, 50]


def test_network_ignores_the_latent_at_non_anchors(tiny_converted) -> None:
    network, z, y = tiny_converted.quantised.network, tiny_converted.z, tiny_converted.y
    rows, columns = np.indices(y.shape[1:])
    changed = np.where((rows + columns) % 2 == network.parity, y, y + 5)

    for first, second in zip(network.evaluate(z, y), network.evaluate(z, changed), strict=True):
        np.testing.assert_array_equal(first, second)


def test_network_adds_medians_before_any_zero_padding(tiny_converted) -> None:
    network = tiny_converted.quantised.network

    entered = network.enter(np.zeros((len(network.medians), 2, 3), np.int16))

    np.testing.assert_array_equal(entered, np.broadcast_to(network.medians, (2, 3, len(network.medians))))


def test_product_too_large_for_float64_is_refused() -> None:
    huge = Product(0, ((0, 0),), (0, 1), np.array([[1 << 40]]), np.array([0]), np.array([1 << 20]))
    layer = Layer("huge", (huge,), np.array([0]), np.array([0]), None)

    with pytest.raises(OverflowError, match="float64"):
        layer(np.full((1, 1, 1), 1 << 20))
