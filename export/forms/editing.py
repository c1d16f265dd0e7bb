"""Read, rewrite and write an ONNX graph: the few operations that all forms share.

Knows onnx_ir; knows nothing of engines.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from fastlic.errors import BundleError

FLOAT, HALF, BYTE = ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.UINT8


def read(model: bytes) -> ir.Model:
    """Parse a model and infer the types of its values.

    Raises:
        BundleError: it is not one.
    """
    try:
        return ShapeInferencePass()(ir.from_proto(onnx.load_from_string(model))).model
    except Exception as error:  # protobuf, onnx and onnx_ir raise classes that share no base
        raise BundleError(
            f"not an ONNX model: {' '.join(str(error).split())[:200]}. Export the bundle again."
        ) from None


def write(model: ir.Model) -> bytes:
    """Serialise what the outputs need, in an order that can be evaluated; equal models give equal bytes."""
    RemoveUnusedNodesPass()(model)
    model.graph.sort()
    for node in model.graph:
        for value in node.outputs:
            if value not in model.graph.outputs:
                value.type = value.shape = None
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


class Editor:
    """Adds nodes to a graph.

    Args:
        graph: is changed in place.
        before: the node that new ones come before, or None for the end of the graph.
    """

    def __init__(self, graph: ir.Graph, before: ir.Node | None = None) -> None:
        self._graph, self._before = graph, before

    def op(
        self, kind: str, inputs: Iterable[ir.Value], *, domain: str = "", name: str | None = None, **attributes: Any
    ) -> ir.Value:
        """Add a node of one output."""
        node = ir.node(kind, list(inputs), attributes, domain=domain, name=name)
        if self._before is None:
            self._graph.append(node)
        else:
            self._graph.insert_before(self._before, node)
        return node.outputs[0]

    def constant(self, values: np.ndarray | np.generic, name: str) -> ir.Value:
        """Add an initialiser, under a name made unique."""
        unique, number = name, 0
        while unique in self._graph.initializers:
            number += 1
            unique = f"{name}.{number}"
        value = ir.val(unique, const_value=ir.tensor(np.asarray(values, order="C"), name=unique))
        self._graph.register_initializer(value)
        return value

    def cast(self, value: ir.Value, kind: ir.DataType) -> ir.Value:
        """`value` as another type."""
        result = self.op("Cast", [value], to=int(kind))
        result.dtype = kind
        return result


def constant_of(value: ir.Value | None) -> np.ndarray | None:
    """The numbers of an initialiser, or None for what is computed."""
    tensor = None if value is None else value.const_value
    return None if tensor is None else tensor.numpy()


def replace(node: ir.Node, result: ir.Value) -> None:
    """Let `result` stand for the single output of `node`, and drop `node`."""
    old = node.outputs[0]
    result.type = result.type or old.type
    result.shape = result.shape or old.shape
    if old.is_graph_output():
        result.name = old.name
    old.replace_all_uses_with(result, replace_graph_outputs=True)
    assert node.graph is not None
    node.graph.remove(node, safe=True)


def fold_weights(graph: ir.Graph) -> None:
    """Compute now what is made of initialisers alone: a bundle stores weights small, engines want them ready.

    Exact: casts are to wider types, and factors are powers of two.
    """
    for node in list(graph):
        values = [constant_of(value) for value in node.inputs]
        if node.op_type not in ("Cast", "Mul") or any(each is None for each in values):
            continue
        if node.op_type == "Cast":
            result = np.asarray(values[0]).astype(ir.DataType(node.attributes["to"].as_int()).numpy())
        else:
            result = np.asarray(values[0]) * np.asarray(values[1])
        replace(node, Editor(graph).constant(result, f"{node.outputs[0].name}.folded"))
