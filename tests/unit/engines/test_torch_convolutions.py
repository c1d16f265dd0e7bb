"""The oracle's convolutions against ONNX Runtime; sums of n terms may differ by n roundings of their magnitudes."""

from __future__ import annotations

import numpy as np
import pytest

from fastlic.errors import BundleError
from fastlic.runtime import engines

pytest.importorskip("torch", reason="the oracle engine needs torch")

CASES = {
    "Conv": [
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 3], "pads": [0, 1, 2, 1], "strides": [2, 1]},
        {"kernel_shape": [3, 3], "dilations": [2, 1]},
        {"kernel_shape": [3, 3], "group": 2},
    ],
    "ConvTranspose": [
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        {"kernel_shape": [3, 3], "group": 2},
    ],
    "DeformConv": [
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 3], "pads": [2, 1, 2, 1], "strides": [2, 1], "dilations": [2, 1]},
    ],
}


def _both(model: bytes, inputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    found, expected = (
        engines.create(name, threads=1).load(model, "convolution", exact=False)(inputs)[0]
        for name in ("torch", "ort-cpu")
    )
    return found, expected


@pytest.mark.parametrize(("operator", "case"), [(kind, n) for kind, cases in CASES.items() for n in range(len(cases))])
def test_convolution_equals_onnx_runtime_up_to_rounding(make_single, rng, operator, case):
    attributes = CASES[operator][case]
    groups = attributes.get("group", 1)
    x = rng.normal(size=(2, 8, 9, 12)).astype(np.float32)
    shape = (8, 6 // groups, 3, 3) if operator == "ConvTranspose" else (6, 8 // groups, 3, 3)
    weight, bias = rng.normal(size=shape).astype(np.float32), rng.normal(size=6).astype(np.float32)
    inputs, between = [x], []
    if operator == "DeformConv":
        (height, width) = (9, 12) if case == 0 else (5, 12)
        # Offsets of several pixels: samples fall between pixels, across the border and far outside.
        inputs, between = [x, weight, 4 * rng.normal(size=(2, 18, height, width)).astype(np.float32)], []
    else:
        between = [weight]
    model = make_single(operator, inputs, [np.float32], [*between, bias], **attributes)

    found, expected = _both(model, inputs)

    terms = 8 * 9 + 1
    magnitude = np.abs(x).max() * np.abs(weight).max() * terms
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=terms * np.finfo(np.float32).eps * magnitude)


def test_deform_conv_whole_pixel_offsets_is_a_shifted_convolution(make_single, rng):
    """An offset of (1, 2) pixels at every tap reads the map moved by that much, zeros coming in at the border."""
    x = rng.integers(-8, 9, (1, 4, 7, 9)).astype(np.float32)
    weight = rng.integers(-8, 9, (5, 4, 3, 3)).astype(np.float32)
    offset = np.tile(np.float32([1, 2])[None, :, None, None], (1, 9, 7, 9))
    moved = np.zeros_like(x)
    moved[..., :-1, :-2] = x[..., 1:, 2:]
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    deform = make_single("DeformConv", [x, weight, offset], [np.float32], **attributes)
    plain = make_single("Conv", [x, weight], [np.float32], **attributes)
    engine = engines.create("torch", threads=1)

    (found,) = engine.load(deform, "deform", exact=False)([x, weight, offset])
    (expected,) = engine.load(plain, "plain", exact=False)([moved, weight])

    # The outermost ring also reads what lies outside x but inside `moved`'s padding, so it is left out.
    np.testing.assert_array_equal(found[..., 1:-2, 1:-3], expected[..., 1:-2, 1:-3])


def test_deform_conv_with_a_mask_is_that_of_onnxruntime(make_single, rng):
    shapes = [(1, 4, 7, 9), (5, 4, 3, 3), (1, 18, 7, 9), (5,), (1, 9, 7, 9)]
    inputs = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    model = make_single("DeformConv", inputs, [np.float32], kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    found, expected = (
        engines.create(name, threads=1).load(model, "deform", exact=False)(inputs)[0] for name in ("torch", "ort-cpu")
    )

    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [4, 2]},
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    ],
)
def test_average_pool_equals_onnx_runtime(make_single, rng, attributes):
    x = rng.integers(-128, 128, (1, 3, 9, 12)).astype(np.float32)  # means of 2 to 8 integers: exact in any order
    model = make_single("AveragePool", [x], [np.float32], **attributes)

    found, expected = _both(model, [x])

    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("operator", "attributes", "message"),
    [
        ("AveragePool", {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]}, "padding or dilation"),
        ("Conv", {"auto_pad": "SAME_UPPER"}, "auto_pad 'SAME_UPPER'"),
        ("ConvTranspose", {"pads": [0, 0, 1, 1]}, "unequal pads"),
    ],
)
def test_unsupported_attribute_raises_its_name(make_single, operator, attributes, message):
    inputs = [np.zeros((1, 2, 4, 4), np.float32), np.zeros((2, 2, 3, 3), np.float32)]
    inputs = inputs[:1] if operator == "AveragePool" else inputs
    model = make_single(operator, inputs, [np.float32], **attributes)

    with pytest.raises(BundleError, match=message):
        engines.create("torch", threads=1).load(model, "convolution", exact=False)(inputs)
