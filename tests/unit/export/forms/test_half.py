from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_models import evaluate, model_of, run

from fastlic.errors import BundleError
from fastlic.export.forms.making import make
from fastlic.runtime.forms import Form

HALF = Form(precision="f16")
PORT = (np.float32, (1, 4, 3, 5))


def node(kind: str, *names: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, list(names[:-1]), [names[-1]], **attributes)


def divisive_normalisation(*, inverse: bool) -> bytes:
    """x, multiplied by 1 -> x * root or x / root, as students have it, multiplied by 1."""
    rng = np.random.default_rng(3)
    nodes = [
        node("Mul", "x", "one", "a"),
        node("Mul", "a", "a", "square"),
        node("Conv", "square", "gamma", "beta", "power"),
        node("Sqrt", "power", "root"),
        *([] if inverse else [node("Reciprocal", "root", "factor")]),
        node("Mul", "a", "root" if inverse else "factor", "b"),
        node("Mul", "b", "one", "y"),
    ]
    weights = {
        "one": np.float32(1),
        "gamma": rng.random((4, 4, 1, 1), np.float32),
        "beta": np.ones(4, np.float32),
    }
    return model_of(nodes, {"x": PORT}, {"y": PORT}, **weights)


@pytest.mark.parametrize(
    ("inverse", "size"), [(True, 0.01), (True, 1.0), (True, 60.0), (False, 0.01), (False, 1.0), (False, 9000.0)]
)
def test_normalisation_is_accurate_far_beyond_the_root_of_the_largest_half(
    rng: np.random.Generator, inverse: bool, size: float
) -> None:
    model = divisive_normalisation(inverse=inverse)
    x = (rng.standard_normal(PORT[1]) * size).astype(np.float16).astype(np.float32)

    (expected,) = run(model, x=x)
    (got,) = evaluate(make(model, HALF), x=x)

    # Input, normalised value and result are rounded to half once each, which is 2^-11 of the value; below 2^-14 half
    # is a fixed-point format of 2^-24.
    np.testing.assert_allclose(got, expected, rtol=3 * 2.0**-11, atol=2 * 2.0**-24)


def test_square_and_root_stay_float_and_convolutions_do_not() -> None:
    inferred = onnx.shape_inference.infer_shapes(
        onnx.load_from_string(make(divisive_normalisation(inverse=True), HALF)), strict_mode=True
    )
    kind = {info.name: info.type.tensor_type.elem_type for info in inferred.graph.value_info}

    assert {kind[name] for name in ("square", "power", "root", "b")} == {TensorProto.FLOAT}
    assert kind["a"] == TensorProto.FLOAT16


def test_ports_keep_their_types() -> None:
    made = onnx.load_from_string(make(divisive_normalisation(inverse=True), HALF))

    assert {port.type.tensor_type.elem_type for port in (*made.graph.input, *made.graph.output)} == {TensorProto.FLOAT}
    assert [port.name for port in (*made.graph.input, *made.graph.output)] == ["x", "y"]


def test_a_convolution_takes_half_weights_and_a_resize_float_scales() -> None:
    nodes = [
        node("Conv", "x", "w", "c"),
        node("Resize", "c", "", "scales", "y", mode="nearest"),
    ]
    weights = {"w": np.ones((4, 4, 1, 1), np.float32), "scales": np.array([1, 1, 2, 2], np.float32)}
    model = model_of(nodes, {"x": PORT}, {"y": (np.float32, (1, 4, 6, 10))}, **weights)

    made = onnx.load_from_string(make(model, HALF))

    kinds = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    assert sorted(kinds.values()) == [TensorProto.FLOAT, TensorProto.FLOAT16]
    assert kinds["scales"] == TensorProto.FLOAT


def test_a_softmax_stays_float() -> None:
    model = model_of(
        [node("Mul", "x", "x2", "m"), node("Softmax", "m", "y")], {"x": PORT}, {"y": PORT}, x2=np.float32(2)
    )

    made = onnx.load_from_string(make(model, HALF))

    (softmax,) = (item for item in made.graph.node if item.op_type == "Softmax")
    assert next(item for item in made.graph.node if softmax.input[0] in item.output).op_type == "Cast"


def test_a_weight_beyond_half_precision_is_refused() -> None:
    model = model_of([node("Mul", "x", "big", "y")], {"x": PORT}, {"y": PORT}, big=np.float32(1e5))

    with pytest.raises(BundleError, match=r"weight big: 100000 does not fit float16"):
        make(model, HALF)
