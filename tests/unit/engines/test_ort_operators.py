"""The native module's operators inside ONNX Runtime, held against ONNX Runtime's own."""

from __future__ import annotations

import numpy as np
import pytest

from fastlic.errors import BundleError, EngineUnavailable
from fastlic.kernels import native
from fastlic.runtime import engines

KEEPS_SIZE = {3: {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, 5: {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]}}

needs_native = pytest.mark.skipif(not native.available(), reason="the native module was not built")


def evaluated(model: bytes, inputs: list[np.ndarray], operators: str, threads: int = 1) -> np.ndarray:
    engine = engines.create("ort-cpu", threads=threads, operators=operators)
    (found,) = engine.load(model, "deform", exact=False)(inputs)
    engine.close()
    return found


def arguments(rng, channels: int, outputs: int, height: int, width: int, size: int, spread: float) -> list[np.ndarray]:
    """x, weight, offset and bias of a batch of two."""
    return [
        rng.normal(size=(2, channels, height, width)).astype(np.float32),
        rng.normal(size=(outputs, channels, size, size)).astype(np.float32),
        (spread * rng.normal(size=(2, 2 * size * size, height, width))).astype(np.float32),
        rng.normal(size=outputs).astype(np.float32),
    ]


@needs_native
@pytest.mark.parametrize("spread", [0.0, 0.3, 5.0, 1e6], ids=lambda spread: f"offsets {spread}")
@pytest.mark.parametrize(
    ("channels", "outputs", "height", "width", "size"),
    [(1, 1, 1, 1, 3), (8, 6, 9, 12, 3), (64, 64, 5, 48, 3), (70, 130, 4, 50, 3), (3, 17, 20, 97, 5)],
    ids=str,
)
def test_deform_conv_equals_onnx_runtime_up_to_rounding(
    make_single, rng, channels, outputs, height, width, size, spread
) -> None:
    x, weight, offset, bias = arguments(rng, channels, outputs, height, width, size, spread)
    model = make_single("DeformConv", [x, weight, offset], [np.float32], [bias], **KEEPS_SIZE[size])

    found, expected = (evaluated(model, [x, weight, offset], name) for name in ("fastlic", "onnxruntime"))

    terms = channels * size * size + 1
    magnitude = np.abs(x).max() * np.abs(weight).max() * terms
    np.testing.assert_allclose(found, expected, rtol=0, atol=terms * np.finfo(np.float32).eps * magnitude)


@needs_native
def test_deform_conv_is_the_same_with_any_number_of_threads(make_single, rng) -> None:
    x, weight, offset, bias = arguments(rng, 16, 24, 33, 61, 3, 2.0)
    model = make_single("DeformConv", [x, weight, offset], [np.float32], [bias], **KEEPS_SIZE[3])

    one, three = (evaluated(model, [x, weight, offset], "fastlic", threads) for threads in (1, 3))

    np.testing.assert_array_equal(one, three)


@needs_native
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38], ids=str)
def test_deform_conv_samples_nothing_where_an_offset_is_no_place(make_single, rng, value: float) -> None:
    x, weight, offset, bias = arguments(rng, 4, 5, 6, 7, 3, 0.5)
    offset[:] = value
    model = make_single("DeformConv", [x, weight, offset], [np.float32], [bias], **KEEPS_SIZE[3])

    found = evaluated(model, [x, weight, offset], "fastlic")

    np.testing.assert_array_equal(found, np.broadcast_to(bias[None, :, None, None], found.shape))


@needs_native
def test_deform_conv_of_inputs_that_do_not_fit_is_a_bundle_error(make_single, rng) -> None:
    x, weight, offset, bias = arguments(rng, 4, 5, 6, 7, 3, 0.5)
    model = make_single("DeformConv", [x, weight, offset], [np.float32], [bias], **KEEPS_SIZE[3])

    with pytest.raises(BundleError, match="do not fit together"):
        evaluated(model, [x, weight, offset[:, :, :3]], "fastlic")


@needs_native
def test_form_that_only_onnx_runtime_has_is_left_to_it(make_single, rng) -> None:
    x, weight, _, bias = arguments(rng, 4, 5, 8, 8, 3, 0.5)
    offset = rng.normal(size=(2, 18, 4, 4)).astype(np.float32)
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}
    model = make_single("DeformConv", [x, weight, offset], [np.float32], [bias], **attributes)

    found, expected = (evaluated(model, [x, weight, offset], name) for name in ("fastlic", "onnxruntime"))

    np.testing.assert_array_equal(found, expected)


def test_info_says_whose_operators_run() -> None:
    mine = "fastlic" if native.available() else "onnxruntime"

    assert engines.create("ort-cpu", threads=1).info().detail["operators"] == mine
    assert engines.create("ort-cpu", threads=1, operators="onnxruntime").info().detail["operators"] == "onnxruntime"


def test_unknown_operators_are_refused() -> None:
    with pytest.raises(ValueError, match="fastlic or onnxruntime"):
        engines.create("ort-cpu", threads=1, operators="none")


def test_operators_of_a_module_that_was_not_built_are_unavailable(monkeypatch) -> None:
    monkeypatch.setattr(native, "_load", lambda: (None, "made to be missing"))

    assert engines.create("ort-cpu", threads=1).info().detail["operators"] == "onnxruntime"
    with pytest.raises(EngineUnavailable, match="made to be missing"):
        engines.create("ort-cpu", threads=1, operators="fastlic")


@needs_native
@pytest.mark.parametrize("mode", ["CRD", "DCR"])
@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (2, 12, 3, 5), (1, 8, 0, 4)], ids=str)
def test_depth_to_space_equals_onnx_runtime(make_single, rng, mode: str, shape: tuple[int, ...]) -> None:
    x = rng.normal(size=shape).astype(np.float32)
    model = make_single("DepthToSpace", [x], [np.float32], [], blocksize=2, mode=mode)

    found, expected = (evaluated(model, [x], name) for name in ("fastlic", "onnxruntime"))

    np.testing.assert_array_equal(found, expected)


@needs_native
def test_depth_to_space_of_another_type_is_left_to_onnx_runtime(make_single, rng) -> None:
    x = rng.normal(size=(1, 4, 3, 2))
    model = make_single("DepthToSpace", [x], [np.float64], [], blocksize=2, mode="CRD")

    np.testing.assert_array_equal(evaluated(model, [x], "fastlic"), evaluated(model, [x], "onnxruntime"))
