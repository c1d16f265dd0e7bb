"""Small ONNX graphs for the engines' tests, made with `onnx.helper`; without onnx those tests are skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from fastlic.runtime import engines
from fastlic.runtime.engines import Engine

OPSET = 22

VARIANTS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "ort-cpu 1 thread": ("ort-cpu", 1, {}),
    "ort-cpu 2 threads": ("ort-cpu", 2, {}),
    "ort-cpu unoptimised": ("ort-cpu", 2, {"optimisation": "none"}),
    "torch": ("torch", 2, {}),
    "torch without oneDNN": ("torch", 1, {"onednn": False}),
}


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each engine with each option that could change how it computes."""
    name, threads, options = VARIANTS[request.param]
    if name == "torch":
        pytest.importorskip("torch", reason="the oracle engine needs torch")
    engine = engines.create(name, threads, **options)
    yield engine
    engine.close()


@pytest.fixture
def make_model() -> Callable[..., bytes]:
    """`_model`, below."""
    pytest.importorskip("onnx", reason="the graphs are made with onnx")
    return _model


@pytest.fixture
def make_single(make_model: Callable[..., bytes]) -> Callable[..., bytes]:
    """`_single`, below."""
    return _single


@pytest.fixture
def make_lattice(make_model: Callable[..., bytes]) -> Callable[..., bytes]:
    """`_lattice`, below."""
    return _lattice


def _model(
    nodes: Sequence[Any],
    inputs: Mapping[str, tuple[Any, Sequence[int | str]]],
    outputs: Mapping[str, Any],
    weights: Mapping[str, np.ndarray] | None = None,
) -> bytes:
    """Serialize a graph; `inputs` gives (dtype, shape) by name, `outputs` the dtype by name."""
    from onnx import helper, numpy_helper

    def port(name: str, kind: Any, shape: Sequence[int | str] | None) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)

    graph = helper.make_graph(
        list(nodes),
        "test",
        [port(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [port(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.array(array), name) for name, array in (weights or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return made.SerializeToString()


def _single(
    operator: str,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[Any],
    weights: Sequence[np.ndarray | None] = (),
    **attributes: Any,
) -> bytes:
    """One node. Graph inputs i0, i1, ... have free shapes; `weights` follow them as constants, None being absent."""
    from onnx import helper

    constants = {f"w{n}": array for n, array in enumerate(weights) if array is not None}
    absent = ["" if array is None else f"w{n}" for n, array in enumerate(weights)]
    node = helper.make_node(
        operator,
        [*(f"i{n}" for n in range(len(inputs))), *absent],
        [f"o{n}" for n in range(len(outputs))],
        **attributes,
    )
    ports = {f"i{n}": (a.dtype, [f"d{n}_{axis}" for axis in range(a.ndim)]) for n, a in enumerate(inputs)}
    return _model([node], ports, {f"o{n}": kind for n, kind in enumerate(outputs)}, constants)


def _lattice(rng: np.random.Generator, *, channels: int = 96, exact: bool = True) -> bytes:
    """A 3x3 convolution on integers as exact graphs write it: clip, pad, shifted slices, product, requantisation.

    int16 (C, h, w) -> int16 (h, w, 64). With `exact` every sum stays below 2^24: 9 * 96 * 127 * 127 + 2^11 < 2^24.
    Otherwise the clip is missing: sums pass 2^24, so they are rounded, and depend on their order.
    """
    from onnx import TensorProto, helper

    shift = 8 if exact else 12  # so that most results of either stay inside int16
    weights = {
        "weight": rng.integers(-127, 128, (9 * channels, 64)).astype(np.int8),
        "low": np.float32(-127),
        "high": np.float32(127),
        "pads": np.array([0, 1, 1, 0, 1, 1]),
        "half": np.float32(2.0 ** (shift - 1)),
        "scale": np.float32(2.0**-shift),
        "int16_low": np.float32(-32768),
        "int16_high": np.float32(32767),
        "axes": np.array([1, 2]),
    }
    nodes = [
        helper.make_node("Cast", ["y"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Clip", ["real", "low", "high"] if exact else ["real"], ["clipped"]),
        helper.make_node("Pad", ["clipped", "pads"], ["padded"]),
        helper.make_node("Cast", ["weight"], ["weight_real"], to=TensorProto.FLOAT),
    ]
    for tap in range(9):
        start = divmod(tap, 3)
        weights[f"from{tap}"] = np.array(start)
        weights[f"to{tap}"] = np.array([2**31 if at == 2 else at - 2 for at in start])
        nodes.append(helper.make_node("Slice", ["padded", f"from{tap}", f"to{tap}", "axes"], [f"tap{tap}"]))
    nodes += [
        helper.make_node("Concat", [f"tap{tap}" for tap in range(9)], ["taps"], axis=0),
        helper.make_node("Transpose", ["taps"], ["pixels"], perm=[1, 2, 0]),
        helper.make_node("MatMul", ["pixels", "weight_real"], ["sum"]),
        helper.make_node("Add", ["sum", "half"], ["shifted"]),
        helper.make_node("Mul", ["shifted", "scale"], ["scaled"]),
        helper.make_node("Floor", ["scaled"], ["floored"]),
        helper.make_node("Clip", ["floored", "int16_low", "int16_high"], ["bounded"]),
        helper.make_node("Cast", ["bounded"], ["out"], to=TensorProto.INT16),
    ]
    return _model(nodes, {"y": (np.int16, [channels, "h", "w"])}, {"out": np.int16}, weights)
