"""Each operator of the oracle against ONNX Runtime, on one node."""

from __future__ import annotations

import numpy as np
import pytest

from fastlic.errors import BundleError
from fastlic.runtime import engines
from fastlic.runtime.engines.torch_operators import OPERATORS

pytest.importorskip("torch", reason="the oracle engine needs torch")

FLOATS = np.linspace(-3, 3, 24, dtype=np.float32).reshape(1, 4, 2, 3)
COUNTS = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
LOGICAL = np.array([[True, False], [False, True]])


def _ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


# operator -> (graph inputs, constants that follow, attributes), several of each
CASES: dict[str, list[tuple]] = {
    "Abs": [([FLOATS], [], {})],
    "Add": [([FLOATS, FLOATS[:, :1]], [], {})],
    "And": [([LOGICAL, LOGICAL.T.copy()], [], {})],
    "Cast": [([FLOATS], [], {"to": kind}) for kind in (5, 7, 10, 11)] + [([COUNTS], [], {"to": 1})],
    "Ceil": [([FLOATS], [], {})],
    "Clip": [
        ([FLOATS], [np.float32(-1), np.float32(2)], {}),
        ([FLOATS], [None, np.float32(0)], {}),
        ([FLOATS], [], {}),
        ([COUNTS], [np.int64(3), np.int64(17)], {}),
    ],
    "Concat": [([COUNTS, COUNTS + 1, COUNTS * 2], [], {"axis": axis}) for axis in (0, 2, -1)],
    "ConstantOfShape": [([_ints(2, 3)], [], {})],
    "DepthToSpace": [([FLOATS], [], {"blocksize": 2, "mode": mode}) for mode in ("CRD", "DCR")],
    "Div": [([FLOATS], [np.float32(4)], {}), ([COUNTS - 12], [np.int64(5)], {})],
    "Equal": [([COUNTS], [_ints(3)], {})],
    "Exp": [([FLOATS], [], {})],
    "Expand": [([COUNTS[:, :1]], [_ints(1, 3, 1)], {}), ([COUNTS], [_ints(2, 1, 1, 1)], {})],
    "Flatten": [([FLOATS], [], {}), ([FLOATS], [], {"axis": 3}), ([FLOATS], [], {"axis": 0})],
    "Floor": [([FLOATS], [], {})],
    "Gather": [([COUNTS], [_ints(1, -1)], {"axis": axis}) for axis in (0, 1, -1)]
    + [([COUNTS], [np.array(2)], {"axis": 2}), ([COUNTS], [_ints(0, 1, 1, 0).reshape(2, 2)], {})],
    "Gemm": [
        ([np.abs(FLOATS[0, 0]), np.abs(FLOATS[0, 1])], [], {"transB": 1}),
        (
            [np.abs(FLOATS[0, 0]), np.abs(FLOATS[0, 1])],
            [np.float32([1, 2, 3])],
            {"transA": 1, "alpha": 0.5, "beta": 2.0},
        ),
    ],
    "Greater": [([COUNTS], [_ints(3)], {})],
    "Identity": [([COUNTS], [], {})],
    "LeakyRelu": [([FLOATS], [], {}), ([FLOATS], [], {"alpha": 0.25})],
    "Less": [([COUNTS], [_ints(3)], {})],
    "MatMul": [
        ([np.abs(FLOATS), np.abs(FLOATS).transpose(0, 1, 3, 2).copy()], [], {}),
        ([np.abs(FLOATS)], [np.abs(FLOATS[0, 0].T)], {}),
    ],
    "Max": [([COUNTS, COUNTS[:, ::-1].copy(), COUNTS[:, :1]], [], {}), ([FLOATS, -FLOATS], [], {})],
    "Min": [([COUNTS, COUNTS[:, ::-1].copy(), COUNTS[:, :1]], [], {})],
    "Mul": [([FLOATS, FLOATS[:, :, :1]], [], {})],
    "Neg": [([FLOATS], [], {})],
    "Not": [([LOGICAL], [], {})],
    "Or": [([LOGICAL, LOGICAL[:1]], [], {})],
    "Pad": [
        ([COUNTS], [_ints(0, 1, 2, 0, 3, 0)], {}),
        ([FLOATS], [_ints(1, 0, 2, 3), np.float32(-7), _ints(2, -1)], {}),
        ([COUNTS], [_ints(0, -1, 0, 0, 0, -2)], {}),
    ],
    "Pow": [([FLOATS], [np.float32(2)], {})],
    "Range": [([np.array(3), np.array(11), np.array(2)], [], {})],
    "Reciprocal": [([FLOATS], [], {})],
    "ReduceMax": [([FLOATS], [_ints(1, -1)], {})],
    "ReduceMean": [([np.abs(FLOATS)], [_ints(2, 3)], {}), ([np.abs(FLOATS)], [], {"keepdims": 0})],
    "ReduceMin": [([FLOATS], [_ints(0)], {"keepdims": 0})],
    "ReduceSum": [([COUNTS], [_ints(1)], {}), ([COUNTS], [], {"noop_with_empty_axes": 1})],
    "Relu": [([FLOATS], [], {})],
    "Reshape": [([COUNTS], [_ints(-1, 6)], {}), ([COUNTS], [_ints(0, 12)], {}), ([COUNTS], [_ints(4, 0, 2)], {})],
    "Round": [([np.arange(-3, 3, 0.25, dtype=np.float32)], [], {})],
    "Shape": [([COUNTS], [], {}), ([COUNTS], [], {"start": 1}), ([COUNTS], [], {"start": -2, "end": -1})],
    "Sigmoid": [([FLOATS], [], {})],
    "Slice": [
        ([COUNTS], [_ints(1), _ints(2**31)], {}),
        ([COUNTS], [_ints(-2, 0), _ints(-1, -1), _ints(2, 1)], {}),
        ([COUNTS], [_ints(0, 1), _ints(9, 9), _ints(-1, 1), _ints(2, 3)], {}),
        ([COUNTS], [_ints(-1), _ints(-(2**31)), _ints(1), _ints(-2)], {}),
        ([COUNTS], [_ints(3), _ints(1), _ints(2)], {}),
    ],
    "Softmax": [([FLOATS], [], {}), ([FLOATS], [], {"axis": 1})],
    "SpaceToDepth": [([FLOATS.reshape(1, 1, 4, 6)], [], {"blocksize": 2})],
    "Split": [([COUNTS], [_ints(1, 3)], {"axis": 2}), ([COUNTS], [], {"axis": 2, "num_outputs": 2})],
    "Sqrt": [([np.abs(FLOATS)], [], {})],
    "Squeeze": [([FLOATS], [_ints(0)], {}), ([FLOATS], [], {}), ([FLOATS[:, :1]], [_ints(1, 0)], {})],
    "Sub": [([FLOATS, FLOATS[..., :1]], [], {})],
    "Tanh": [([FLOATS], [], {})],
    "Tile": [([COUNTS], [_ints(1, 2, 3)], {})],
    "Transpose": [([COUNTS], [], {}), ([COUNTS], [], {"perm": [1, 0, 2]})],
    "Unsqueeze": [([COUNTS], [_ints(0)], {}), ([COUNTS], [_ints(-1, 1)], {})],
    "Where": [([LOGICAL, COUNTS[0, :2, :2], COUNTS[1, :1, :2]], [], {})],
}
COMPARISONS = ("Equal", "Greater", "Less")
# Not rounded correctly in float32, so compared with ONNX Runtime in float64. In units in the last place: a library
# function is good to 1, a composed one to 1 for each of its parts, a sum of n terms of one sign to n.
ROUNDED = {"Exp": 1, "Gemm": 12, "MatMul": 12, "Pow": 1, "ReduceMean": 25, "Reciprocal": 1, "Sigmoid": 3, "Softmax": 6}
ROUNDED |= {"Sqrt": 1, "Tanh": 1}


def _numbered(operators: list[str]) -> list[tuple[str, int]]:
    return [(operator, case) for operator in operators for case in range(len(CASES[operator]))]


def _output_type(operator: str, inputs: list[np.ndarray], attributes: dict) -> type:
    if operator == "Cast":
        return {1: np.float32, 5: np.int16, 7: np.int64, 10: np.float16, 11: np.float64}[attributes["to"]]
    if operator in COMPARISONS:
        return np.bool_
    if operator == "ConstantOfShape":
        return np.float32
    return {"Shape": np.int64, "Where": np.int64}.get(operator, inputs[0].dtype.type)


@pytest.mark.parametrize(("operator", "case"), _numbered(sorted(CASES.keys() - ROUNDED.keys())))
def test_exact_operator_equals_onnx_runtime(make_single, operator, case):
    inputs, constants, attributes = CASES[operator][case]
    outputs = [_output_type(operator, inputs, attributes)] * (2 if operator == "Split" else 1)
    model = make_single(operator, inputs, outputs, constants, **attributes)

    found = engines.create("torch", threads=1).load(model, operator, exact=False)(inputs)
    expected = engines.create("ort-cpu", threads=1).load(model, operator, exact=False)(inputs)

    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("operator", "case"), _numbered(sorted(ROUNDED)))
def test_rounding_operator_is_as_close_to_float64_as_its_parts_allow(make_single, operator, case):
    inputs, constants, attributes = CASES[operator][case]
    wide_inputs, wide_constants = (
        [array.astype(np.float64) if array.dtype == np.float32 else array for array in part]
        for part in (inputs, constants)
    )
    model = make_single(operator, inputs, [np.float32], constants, **attributes)
    wide_model = make_single(operator, wide_inputs, [np.float64], wide_constants, **attributes)

    (found,) = engines.create("torch", threads=1).load(model, operator, exact=False)(inputs)
    (expected,) = engines.create("ort-cpu", threads=1).load(wide_model, operator, exact=False)(wide_inputs)

    assert (found.dtype, found.shape) == (np.float32, expected.shape)
    np.testing.assert_array_max_ulp(found, expected.astype(np.float32), maxulp=ROUNDED[operator])


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ({"value_int": 3}, np.int64(3)),
        ({"value_ints": [3, 4]}, _ints(3, 4)),
        ({"value_float": 0.5}, np.float32(0.5)),
        ({"value_floats": [0.5, 2.0]}, np.float32([0.5, 2.0])),
    ],
)
def test_constant_of_each_kind_has_its_type(attribute, expected):
    value = OPERATORS["Constant"](attribute).numpy()

    assert value.dtype == expected.dtype
    np.testing.assert_array_equal(value, expected)


def test_pad_unsupported_mode_raises_its_name(make_single):
    model = make_single("Pad", [FLOATS], [np.float32], [_ints(0, 0, 1, 1, 0, 0, 1, 1)], mode="reflect")

    with pytest.raises(BundleError, match="padding mode 'reflect'"):
        engines.create("torch", threads=1).load(model, "pad", exact=False)([FLOATS])


def test_every_operator_is_tested():
    elsewhere = {"AveragePool", "Constant", "Conv", "ConvTranspose", "DeformConv"}

    assert set(OPERATORS) == set(CASES) | elsewhere
