from __future__ import annotations

import numpy as np
import onnx
from onnx import helper
from small_models import model_of, run

from fastlic.export.forms.making import make
from fastlic.runtime.forms import Form

FORM = Form(products="convolution")


def product(*, constant: bool) -> bytes:
    """X (h, w, 64) by w (64, 5)."""
    weights = np.random.default_rng(1).integers(-127, 128, (64, 5)).astype(np.float32)
    inputs = {"x": (np.float32, ("h", "w", 64))}
    nodes = [helper.make_node("MatMul", ["x", "m"], ["y"])]
    if not constant:
        return model_of(nodes, {**inputs, "m": (np.float32, (64, 5))}, {"y": (np.float32, ("h", "w", 5))})
    return model_of(nodes, inputs, {"y": (np.float32, ("h", "w", 5))}, m=weights)


def test_product_at_the_certified_bound_is_the_same_integers(rng: np.random.Generator) -> None:
    x = rng.integers(-2047, 2048, (3, 7, 64)).astype(np.float32)
    made = make(product(constant=True), FORM)

    (expected,) = run(product(constant=True), x=x)
    (got,) = run(made, x=x)

    np.testing.assert_array_equal(got, expected)
    assert "MatMul" not in {node.op_type for node in onnx.load_from_string(made).graph.node}


def test_product_of_two_computed_tensors_stays() -> None:
    made = onnx.load_from_string(make(product(constant=False), FORM))

    assert [node.op_type for node in made.graph.node] == ["MatMul"]


def test_form_has_a_name_of_its_own() -> None:
    assert FORM.name == "onnx-standard-f32-convolution"
    assert Form().name == "onnx-standard-f32"
