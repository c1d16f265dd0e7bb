from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastlic.export.integer.affine import Affine, Source
from fastlic.export.integer.certificate import certify, certify_layers
from fastlic.export.integer.quantisation import LayerBuilder, Ranges, Signal, quantise, with_quantised_weights


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())


def test_integer_network_follows_the_float_network(variant_converted) -> None:
    wanted = variant_converted.folded.evaluate(variant_converted.z, variant_converted.y)

    found = variant_converted.quantised.network.evaluate(variant_converted.z, variant_converted.y)

    # 8-bit weights and 9 to 11-bit activations: about 1/256 of the outputs' spread per layer, five layers deep,
    # and half a unit of rounding, 0.3 in rms.
    for integer, real in zip(found, wanted, strict=True):
        assert relative_error(integer, real) < 0.03 + 0.3 / real.std()


def test_quantised_weights_alone_are_nearer_than_the_integer_network(tiny_converted) -> None:
    z, y, quantised = tiny_converted.z, tiny_converted.y, tiny_converted.quantised
    wanted = tiny_converted.folded.evaluate(z, y)

    weights_only = with_quantised_weights(tiny_converted.folded, quantised).evaluate(z, y)

    for restored, integer, real in zip(weights_only, quantised.network.evaluate(z, y), wanted, strict=True):
        assert relative_error(restored, real) < relative_error(integer, real)


def test_weights_use_eight_bits_and_no_more(tiny_converted) -> None:
    products = [product for layer in tiny_converted.quantised.network.layers() for product in layer.products]

    peaks = [np.abs(product.weight).max(axis=0) for product in products]

    assert max(int(peak.max()) for peak in peaks) <= 127
    assert np.median(np.concatenate(peaks)) >= 64


def test_fan_in_that_exceeds_the_bound_is_cut_into_parts_and_still_follows(tiny_converted) -> None:
    folded = tiny_converted.folded
    ranges = wide_ranges(tiny_converted)

    quantised = quantise(folded, ranges)

    assert len(quantised.network.trunk[0].products) > 1
    certify(quantised.network)
    wanted = folded.evaluate(tiny_converted.z, tiny_converted.y)
    found = quantised.network.evaluate(tiny_converted.z, tiny_converted.y)
    for integer, real in zip(found, wanted, strict=True):
        assert relative_error(integer, real) < 0.05 + 0.3 / real.std()


def wide_ranges(converted) -> Ranges:
    """Ranges of a calibration that met hyper latents so large that no single product can take them."""
    high, low = {}, {}
    record: dict = {}
    converted.folded.evaluate(converted.z, converted.y, record)
    for name, output in record.items():
        high[name] = output.amax((0, 2, 3)).double().numpy() * 1.5
        low[name] = output.amin((0, 2, 3)).double().numpy() * 1.5
    return Ranges(high, low, hyper=300, latent=40)


def test_channel_that_is_always_zero_still_gets_a_step(tiny_converted) -> None:
    folded = tiny_converted.folded
    silent = silenced(folded.trunk[0], channel=2)
    dead = replace(folded, trunk=(silent, *folded.trunk[1:]))
    ranges = wide_ranges(replace(tiny_converted, folded=dead))

    quantised = quantise(dead, ranges)

    assert np.isfinite(quantised.output_steps[silent.name]).all()
    assert (quantised.output_steps[silent.name] > 0).all()


def silenced(layer: Affine, channel: int) -> Affine:
    weight, bias = layer.sources[0].weight.copy(), layer.bias.copy()
    weight[:, :, channel], bias[channel] = 0, 0
    return replace(layer, sources=(replace(layer.sources[0], weight=weight),), bias=bias)


def test_bias_that_dwarfs_the_weights_keeps_its_certificate(tiny_converted) -> None:
    folded = tiny_converted.folded
    last = folded.anchor[-1]
    faint = replace(
        last, sources=(replace(last.sources[0], weight=last.sources[0].weight * 1e-6),), bias=last.bias + 2000
    )
    biased = replace(folded, anchor=(*folded.anchor[:-1], faint))

    quantised = quantise(biased, wide_ranges(replace(tiny_converted, folded=biased)))

    certify(quantised.network)
    wanted = biased.evaluate(tiny_converted.z, tiny_converted.y)[0]
    found = quantised.network.evaluate(tiny_converted.z, tiny_converted.y)[0]
    assert np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize("bias", [-0.05, -30.0])
def test_channel_that_was_always_negative_gets_a_step_that_can_be_proved(bias: float) -> None:
    generator = np.random.default_rng(3)
    weight = generator.normal(0, 0.1, (1, 16, 4))
    affine = Affine("layer", (Source(((0, 0),), weight),), np.array([bias, bias, 0.1, 0.2]))
    high = np.array([-0.01, -0.02, 1e-5, 1e-5])  # two channels never open, so half of all peaks are next to nothing
    builder = LayerBuilder(Ranges({"layer": high}, {"layer": np.full(4, -40.0)}, 0, 0), {"layer": 0.0})

    layer, output = builder.add(affine, (Signal(np.full(16, 0.01), np.full(16, 2047)),), [])

    certify_layers([layer], [])
    assert (output.limit <= 2047).all()
    x = generator.integers(-2047, 2048, (3, 3, 16))
    wanted = np.maximum(0.01 * x @ weight[0] + affine.bias, 0)
    found = layer(x) * output.steps
    assert np.abs(np.minimum(found, wanted) - found).max() <= 4 * output.steps.max()
