"""Fit a graph to TensorRT's types: it has no int16, and uint8 only at the ports.

An int16 port becomes a uint8 port with a last axis of 2: low byte, high byte. These are the same bytes in memory
(little endian), so whoever holds the buffers need not know. Inside, what was int16 or uint8 is floating point that
holds integers.
Knows types; knows nothing of what a graph computes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fastlic.errors import EngineUnavailable
from fastlic.export.forms.editing import BYTE, FLOAT, Editor, replace

_SHORT = ir.DataType.INT16


def to_tensorrt(graph: ir.Graph) -> None:
    """Rewrite `graph` in place.

    Raises:
        EngineUnavailable: a port of bytes looks like one that this makes of int16.
    """
    for value in (*graph.inputs, *graph.outputs):
        if value.dtype == BYTE and value.shape is not None and value.shape[-1] == 2:
            raise EngineUnavailable(f"port {value.name} is uint8 with a last axis of 2: it would be taken for int16.")
    kinds = [value.dtype for value in graph.outputs]
    for node in list(graph):
        if node.op_type == "Cast" and node.attributes["to"].as_int() in (_SHORT, BYTE):
            _keep_floating(graph, node)
    for position, kind in enumerate(kinds):
        if kind in (_SHORT, BYTE):
            _output(graph, position, pairs=kind == _SHORT)
    for position, value in enumerate(list(graph.inputs)):
        if value.dtype == _SHORT:
            _input(graph, position)
    for node in list(graph):
        _drop_cast_to_same(node)


def _keep_floating(graph: ir.Graph, node: ir.Node) -> None:
    """Instead of casting to integers drop the fraction, towards zero, as the cast does."""
    value = node.inputs[0]
    assert value is not None
    producer = value.producer()
    add = Editor(graph, node)
    if producer is not None and producer.op_type in ("Floor", "Round"):
        result = add.op("Identity", [value])
    elif node.attributes["to"].as_int() == BYTE:
        result = add.op("Floor", [value])  # nothing below 0 has a meaning as uint8
    else:
        result = add.op("Mul", [add.op("Sign", [value]), add.op("Floor", [add.op("Abs", [value])])])
    result.type = value.type
    result.shape = node.outputs[0].shape
    replace(node, result)


def _output(graph: ir.Graph, position: int, *, pairs: bool) -> None:
    """Make an output that is floating now a port of bytes."""
    value = graph.outputs[position]
    name, shape = value.name, value.shape
    value.name = f"{name}.floating"
    add = Editor(graph)
    result = add.cast(_bytes_of(add, value, str(name)) if pairs else value, BYTE)
    result.name, result.shape = name, _with_pair(shape) if pairs else shape
    graph.outputs[position] = result


def _bytes_of(add: Editor, value: ir.Value, name: str) -> ir.Value:
    """(...) integers of 16 bits -> (..., 2): low byte and high byte, float32; every step is exact."""
    wide = value if value.dtype == FLOAT else add.cast(value, FLOAT)
    page = add.constant(np.float32(256), f"{name}.page")
    high = add.op("Floor", [add.op("Mul", [wide, add.constant(np.float32(1 / 256), f"{name}.part")])])
    low = add.op("Sub", [wide, add.op("Mul", [high, page])])
    negative = add.op("Min", [high, add.constant(np.float32(0), f"{name}.zero")])  # -128 to -1, or 0
    sign = add.op("Clip", [negative, add.constant(np.float32(-1), f"{name}.minus")])
    unsigned = add.op("Sub", [high, add.op("Mul", [sign, page])])
    last = add.constant(np.array([-1]), f"{name}.last")
    return add.op("Concat", [add.op("Unsqueeze", [part, last]) for part in (low, unsigned)], axis=-1)


def _input(graph: ir.Graph, position: int) -> None:
    """Make an int16 input a port of bytes, and float32 from there on."""
    old = graph.inputs[position]
    port = ir.val(old.name, BYTE, _with_pair(old.shape))
    old.name = f"{old.name}.short"
    first = next(iter(graph))
    add = Editor(graph, first)
    weights = add.constant(np.array([1, 256], np.float32), f"{port.name}.pair")
    both = add.op("Mul", [add.cast(port, FLOAT), weights])
    unsigned = add.op("ReduceSum", [both, add.constant(np.array([-1]), f"{port.name}.last")], keepdims=0)
    half = add.constant(np.float32(1 << 15), f"{port.name}.half")
    part, page = (
        add.constant(np.float32(number), f"{port.name}.{what}")
        for number, what in ((2.0**-16, "part"), (65536, "page"))
    )
    wrapped = add.op("Floor", [add.op("Mul", [add.op("Add", [unsigned, half]), part])])  # 1 when negative
    value = add.op("Sub", [unsigned, add.op("Mul", [wrapped, page])])
    value.dtype, value.shape = FLOAT, old.shape
    old.replace_all_uses_with(value)
    graph.inputs[position] = port


def _drop_cast_to_same(node: ir.Node) -> None:
    """Remove a cast of float32 to float32, which was one of int16."""
    value = node.inputs[0] if node.op_type == "Cast" else None
    if value is None or node.outputs[0].is_graph_output():
        return
    if value.dtype == FLOAT == node.attributes["to"].as_int():
        node.outputs[0].replace_all_uses_with(value)


def _with_pair(shape: ir.Shape | None) -> ir.Shape:
    assert shape is not None
    return ir.Shape([*shape, 2])
