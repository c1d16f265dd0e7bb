"""The native module's Conv inside ONNX Runtime, held against float64."""

from __future__ import annotations

import ctypes
import sys
import threading

import numpy as np
import pytest

from fastlic.errors import BundleError
from fastlic.kernels import native
from fastlic.runtime import engines

pytestmark = pytest.mark.skipif(not native.available(), reason="the native module was not built")

WINOGRAD = 40
"""Roundings that the transforms add to those of the sum: some ten operations each, of factors up to 8 that cancel."""


def evaluated(model: bytes, inputs: list[np.ndarray], operators: str, threads: int = 1) -> np.ndarray:
    engine = engines.create("ort-cpu", threads=threads, operators=operators)
    (found,) = engine.load(model, "conv", exact=False)(inputs)
    engine.close()
    return found


def convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, pads: list[int], strides: list[int]) -> np.ndarray:
    """Conv in float64, from its definition."""
    above, beside, below, after = pads
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (above, below), (beside, after)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
    patches = patches[:, :, :: strides[0], :: strides[1]]
    return np.einsum("nchwij,ocij->nohw", patches, weight.astype(np.float64)) + bias[:, None, None]


FORMS = {
    "1x1": (1, [0, 0, 0, 0], [1, 1]),
    "3x3": (3, [1, 1, 1, 1], [1, 1]),
    "3x3 without padding": (3, [0, 0, 0, 0], [1, 1]),
    "3x3, uneven padding": (3, [2, 0, 0, 3], [1, 1]),
    "3x3, stride 2": (3, [1, 1, 1, 1], [2, 2]),
    "5x5, strides 2 and 1": (5, [2, 2, 2, 2], [2, 1]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("channels", "outputs", "height", "width"),
    [(1, 1, 5, 5), (3, 7, 9, 12), (64, 18, 8, 300), (130, 64, 17, 23)],
    ids=str,
)
def test_conv_has_no_more_error_than_its_roundings(make_single, rng, form, channels, outputs, height, width) -> None:
    size, pads, strides = FORMS[form]
    x = rng.normal(size=(2, channels, height, width)).astype(np.float32)
    weight = rng.normal(size=(outputs, channels, size, size)).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32)
    model = make_single("Conv", [x, weight], [np.float32], [bias], pads=pads, strides=strides)

    found = evaluated(model, [x, weight], "fastlic")

    expected = convolved(x, weight, bias, pads, strides)
    summed = convolved(np.abs(x), np.abs(weight), np.abs(bias), pads, strides).max()
    roundings = channels * size * size + 1 + WINOGRAD
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=roundings * np.finfo(np.float32).eps / 2 * summed)


def test_conv_is_the_same_with_any_number_of_threads(make_single, rng) -> None:
    x = rng.normal(size=(1, 16, 33, 61)).astype(np.float32)
    weight = rng.normal(size=(24, 16, 3, 3)).astype(np.float32)
    model = make_single("Conv", [x, weight], [np.float32], [], pads=[1, 1, 1, 1])

    one, three = (evaluated(model, [x, weight], "fastlic", threads) for threads in (1, 3))

    np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize(
    ("attributes", "weight_shape"),
    [({"group": 2}, (4, 2, 3, 3)), ({"dilations": [2, 2]}, (4, 4, 3, 3)), ({"auto_pad": "SAME_UPPER"}, (4, 4, 3, 3))],
    ids=["groups", "dilation", "automatic padding"],
)
def test_conv_of_another_form_is_left_to_onnx_runtime(make_single, rng, attributes, weight_shape) -> None:
    x = rng.normal(size=(1, 4, 8, 8)).astype(np.float32)
    weight = rng.normal(size=weight_shape).astype(np.float32)
    model = make_single("Conv", [x, weight], [np.float32], [], **attributes)

    found, expected = (evaluated(model, [x, weight], name) for name in ("fastlic", "onnxruntime"))

    np.testing.assert_array_equal(found, expected)


def test_conv_of_inputs_that_do_not_fit_is_a_bundle_error(make_single, rng) -> None:
    x = rng.normal(size=(1, 4, 8, 8)).astype(np.float32)
    weight = rng.normal(size=(5, 3, 3, 3)).astype(np.float32)
    model = make_single("Conv", [x, weight], [np.float32], [], pads=[1, 1, 1, 1])

    with pytest.raises(BundleError, match="do not fit together"):
        evaluated(model, [x, weight], "fastlic")


class _Mallinfo(ctypes.Structure):
    """glibc's `mallinfo2`; `arena` is what malloc's pools have of the system, in bytes."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "top",
        )
    ]


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="looks into the pools of glibc's malloc",
)
def test_buffers_of_a_conv_are_not_kept_once_for_each_calling_thread(make_single, rng) -> None:
    """The allocator gives threads that live at the same time pools of their own, which keep what was freed."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    x = rng.normal(size=(1, 128, 16, 16)).astype(np.float32)
    weight = rng.normal(size=(128, 128, 3, 3)).astype(np.float32)
    model = make_single("Conv", [x, weight], [np.float32], [], pads=[1, 1, 1, 1])
    transformed = 36 * 128 * 128 * 4  # bytes: the weights as Winograd's way wants them
    engine = engines.create("ort-cpu", threads=1, operators="fastlic")
    graph = engine.load(model, "conv", exact=False)
    for _ in range(3):  # the arena grows to its size, malloc's thresholds to theirs
        graph([x, weight])
    before, turn, done = mallinfo().arena, threading.Lock(), threading.Barrier(9)

    def call() -> None:
        with turn:
            graph([x, weight])
        done.wait(60)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    done.wait(60)
    grown = mallinfo().arena - before
    for thread in threads:
        thread.join()
    engine.close()

    assert grown < 2 * transformed
