"""Write the floating-point part of a graph in float16, and leave in float32 what would not fit.

float16 ends at 65504, so the square of 256 does not fit: a generalised divisive normalisation, from the square of its
input to the product or quotient with the root, stays in float32. So do others that square, sum or exponentiate.
Ports keep their types. Knows values and operators; knows nothing of engines.
Rule: networks in TensorRT 11 are strongly typed: each operator computes in the type of its inputs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from fastlic.errors import BundleError
from fastlic.export.forms.editing import FLOAT, HALF, Editor, constant_of

_WIDE = {"Exp", "LayerNormalization", "Log", "Pow", "Reciprocal", "ReduceMean", "ReduceSum", "Softmax", "Sqrt"}
# Between a square and its root: operators that sum, and those that only move numbers.
_BETWEEN = {"Add", "Clip", "Conv", "Gemm", "MatMul", "Mul", "Reshape", "Transpose", "Unsqueeze"}
_FLOAT_INPUTS = {("Resize", 1), ("Resize", 2)}
"""Inputs that are float32 by the operator's definition, whatever the type of its data."""


def to_half(graph: ir.Graph) -> None:
    """Rewrite `graph` in place.

    Raises:
        BundleError: a weight does not fit float16.
    """
    wide = set(_wide_nodes(graph))
    for node in graph:
        if node not in wide:
            _narrow(node)
    for node in list(graph):
        _fit_inputs(graph, node, FLOAT if node in wide else HALF)
    _keep_output_types(graph)


def _wide_nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    """The nodes that stay in float32."""
    for node in graph:
        if node.op_type in _WIDE:
            yield node
        if node.op_type in ("Sqrt", "Reciprocal"):
            yield from (user for user in node.outputs[0].consumers() if user.op_type in ("Div", "Mul"))
        if node.op_type == "Sqrt":
            yield from _back_to_square(node, [])


def _back_to_square(node: ir.Node | None, path: list[ir.Node]) -> list[ir.Node]:
    """The nodes from a root back to the square under it, or none when there is no square."""
    if node is None:
        return []
    if node.op_type == "Pow" or (node.op_type == "Mul" and node.inputs[0] is node.inputs[1]):
        return [*path, node]
    if path and node.op_type not in _BETWEEN:
        return []
    for value in node.inputs:
        found = [] if value is None else _back_to_square(value.producer(), [*path, node])
        if found:
            return found
    return []


def _narrow(node: ir.Node) -> None:
    """Make a node's float32 outputs float16."""
    if node.op_type == "Cast" and node.attributes["to"].as_int() == FLOAT:
        node.attributes["to"] = ir.AttrInt64("to", int(HALF))
    for value in node.outputs:
        if value.dtype == FLOAT:
            value.dtype = HALF


def _fit_inputs(graph: ir.Graph, node: ir.Node, wanted: ir.DataType) -> None:
    """Give a node its inputs in the type that it computes in."""
    if node.op_type == "Cast":
        return
    for position, value in enumerate(node.inputs):
        if value is None or value.dtype not in (FLOAT, HALF):
            continue
        kind = FLOAT if (node.op_type, position) in _FLOAT_INPUTS else wanted
        if value.dtype != kind:
            node.replace_input_with(position, _as_type(graph, value, kind, node))


def _as_type(graph: ir.Graph, value: ir.Value, kind: ir.DataType, node: ir.Node) -> ir.Value:
    """`value` as float16 or float32, computed once however many nodes take it."""
    values = constant_of(value)
    if values is not None:
        return _constant_as(graph, value, values, kind)
    for user in value.consumers():
        if user.op_type == "Cast" and user.attributes["to"].as_int() == kind and user.outputs[0].dtype == kind:
            return user.outputs[0]
    producer = value.producer()
    first = node if producer is None else _after(producer, node)
    return Editor(graph, first).cast(value, kind)


def _after(producer: ir.Node, node: ir.Node) -> ir.Node:
    """The node behind `producer`, so that a cast there comes before every user."""
    assert producer.graph is not None
    order = list(producer.graph)
    return order[order.index(producer) + 1] if producer in order else node


def _constant_as(graph: ir.Graph, value: ir.Value, values: np.ndarray, kind: ir.DataType) -> ir.Value:
    name = f"{value.name}.{'half' if kind == HALF else 'float'}"
    known = graph.initializers.get(name)
    if known is not None:
        return known
    with np.errstate(over="ignore"):
        cast = values.astype(kind.numpy())
    if not np.isfinite(cast).all() and np.isfinite(values).all():
        raise BundleError(f"weight {value.name}: {np.abs(values).max():g} does not fit float16. Use precision f32.")
    result = Editor(graph).constant(cast, name)
    result.dtype = kind
    return result


def _keep_output_types(graph: ir.Graph) -> None:
    """Give ports that were float32 their type back."""
    for position, value in enumerate(graph.outputs):
        if value.dtype == HALF:
            name, value.name = value.name, f"{value.name}.half"
            graph.outputs[position] = Editor(graph).cast(value, FLOAT)
            graph.outputs[position].name = name
            graph.outputs[position].shape = value.shape
