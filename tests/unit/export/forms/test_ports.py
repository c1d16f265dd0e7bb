from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper
from small_models import model_of, pairs, run, unpaired

from fastlic.export.forms.making import make
from fastlic.runtime.forms import Form

FORM = Form(types="tensorrt")


def cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], to=kind)


def test_every_int16_goes_in_and_out_as_two_bytes() -> None:
    numbers = np.arange(-(1 << 15), 1 << 15).astype(np.int16).reshape(256, 256)
    nodes = [cast("x", "f", TensorProto.FLOAT), cast("f", "y", TensorProto.INT16)]
    port = (np.int16, (256, 256))

    (got,) = run(make(model_of(nodes, {"x": port}, {"y": port}), FORM), x=pairs(numbers))

    assert got.shape == (256, 256, 2)
    np.testing.assert_array_equal(unpaired(got, numbers), numbers)


def test_only_ports_have_integer_types_and_they_have_no_int16() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        cast("t", "f", TensorProto.FLOAT),
        cast("f", "u", TensorProto.UINT8),
        helper.make_node("Transpose", ["u"], ["y"], perm=[1, 0]),
    ]
    model = onnx.load_from_string(make(model_of(nodes, {"x": (np.int16, (2, 3))}, {"y": (np.uint8, (2, 3))}), FORM))

    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)

    kinds = {info.type.tensor_type.elem_type for info in inferred.graph.value_info}
    assert kinds == {TensorProto.FLOAT, TensorProto.INT64}  # the latter are axes
    assert {port.type.tensor_type.elem_type for port in (*model.graph.input, *model.graph.output)} == {
        TensorProto.UINT8
    }


def test_a_cast_to_integers_still_drops_the_fraction_towards_zero() -> None:
    values = np.array([-2.75, -0.5, 0.0, 0.5, 2.75, 254.999], np.float32)
    short = model_of([cast("x", "y", TensorProto.INT16)], {"x": (np.float32, (6,))}, {"y": (np.int16, (6,))})
    byte = model_of([cast("x", "y", TensorProto.UINT8)], {"x": (np.float32, (6,))}, {"y": (np.uint8, (6,))})

    (signed,) = run(make(short, FORM), x=values)
    (unsigned,) = run(make(byte, FORM), x=np.abs(values))

    np.testing.assert_array_equal(unpaired(signed, values.astype(np.int16)), [-2, 0, 0, 0, 2, 254])
    np.testing.assert_array_equal(unsigned, [2, 0, 0, 0, 2, 254])


def test_weights_stored_small_are_float_in_the_form() -> None:
    nodes = [cast("w.small", "w", TensorProto.FLOAT), helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = {"w.small": np.arange(6, dtype=np.int8).reshape(2, 3)}
    model = model_of(nodes, {"x": (np.float32, (1, 2))}, {"y": (np.float32, (1, 3))}, **weights)

    made = onnx.load_from_string(make(model, FORM))

    assert [node.op_type for node in made.graph.node] == ["MatMul"]
    assert [tensor.data_type for tensor in made.graph.initializer] == [TensorProto.FLOAT]
