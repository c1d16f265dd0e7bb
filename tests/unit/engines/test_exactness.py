"""The contract of docs/exactness.md on a small graph: every engine, with every option, computes the same integers."""

from __future__ import annotations

import numpy as np
import pytest

from fastlic.runtime import engines


def _integers(model: bytes, y: np.ndarray) -> np.ndarray:
    """What `_lattice` with `exact` means, in int64."""
    from onnx import load_model_from_string, numpy_helper

    graph = load_model_from_string(model).graph
    weight = next(numpy_helper.to_array(item) for item in graph.initializer if item.name == "weight").astype(np.int64)
    padded = np.pad(y.astype(np.int64).clip(-127, 127), ((0, 0), (1, 1), (1, 1)))
    _, h, w = y.shape
    taps = np.concatenate([padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)])
    return ((taps.transpose(1, 2, 0) @ weight + 128) >> 8).clip(-32768, 32767).astype(np.int16)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 12), (24, 32)])
def test_exact_graph_on_any_engine_equals_integer_arithmetic(variant, make_lattice, rng, height, width):
    model = make_lattice(rng)
    y = rng.integers(-16383, 16384, (96, height, width)).astype(np.int16)

    (out,) = variant.load(model, "lattice", exact=True)([y])

    np.testing.assert_array_equal(out, _integers(model, y))


def test_exact_graph_with_denormals_flushed_equals_integer_arithmetic(make_lattice, rng):
    torch = pytest.importorskip("torch", reason="sets the processor's flag")
    model = make_lattice(rng)
    y = rng.integers(-3, 4, (96, 8, 8)).astype(np.int16)

    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    try:
        (out,) = engines.create("ort-cpu", threads=1).load(model, "lattice", exact=True)([y])
    finally:
        torch.set_flush_denormal(False)

    np.testing.assert_array_equal(out, _integers(model, y))


def test_graph_without_its_clip_differs_between_engines(make_lattice, rng):
    """The comparison above can fail: past 2^24 the same graph gives different integers."""
    pytest.importorskip("torch", reason="the oracle engine needs torch")
    model = make_lattice(rng, exact=False)
    y = rng.integers(-16383, 16384, (96, 24, 32)).astype(np.int16)

    (first,) = engines.create("ort-cpu", threads=1).load(model, "lattice", exact=False)([y])
    (second,) = engines.create("torch", threads=1, onednn=False).load(model, "lattice", exact=False)([y])

    assert np.count_nonzero(first != second) > 0
