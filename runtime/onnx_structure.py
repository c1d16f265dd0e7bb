"""Refuse ONNX models that could run without end, before an engine sees them.

A graph of nodes is evaluated once per node. Loops and branches hold graphs of their own, functions multiply when they
are inlined, and operators of other domains do whatever their makers chose: a bundle's graphs have none of these. Reads
just enough of the protobuf encoding to know, and refuses what it cannot read; knows nothing of what operators compute.
Rule: docs/format.md, section 2.2.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastlic.errors import BundleError

MAX_NODES = 65_536

_ONNX_DOMAINS = (b"", b"ai.onnx")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE = 1
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11


def check(model: bytes, name: str) -> None:
    """Check one graph of a bundle.

    Args:
        model: a serialized ONNX model.
        name: of the graph, for messages.

    Raises:
        BundleError: it is no model, or has loops, branches, functions, operators that are not ONNX's, too many nodes.
    """
    try:
        problem = _problem(memoryview(model))
    except ValueError as error:
        raise BundleError(f"graph {name}: is not an ONNX model: {error}. Fetch the bundle again.") from None
    if problem:
        raise BundleError(f"graph {name}: {problem}, which a bundle's graphs must not have. Export the bundle again.")


def _problem(model: memoryview) -> str | None:
    """What is forbidden in a model, if anything. Singular fields that occur twice are merged by readers: all count."""
    nodes = 0
    for field, content in _fields(model):
        if field in (_MODEL_TRAINING, _MODEL_FUNCTIONS):
            return "it has functions or training steps"
        if field != _MODEL_GRAPH:
            continue
        for part, node in _fields(content):
            if part != _GRAPH_NODE:
                continue
            nodes += 1
            if nodes > MAX_NODES:
                return f"it has more than {MAX_NODES} nodes"
            if problem := _node_problem(node):
                return problem
    return None


def _node_problem(node: memoryview) -> str | None:
    operator = b""
    found = list(_fields(node))
    for field, content in found:
        if field == _NODE_OPERATOR:
            operator = bytes(content)
    label = operator[:40].decode(errors="replace")
    for field, content in found:
        if field == _NODE_DOMAIN and bytes(content) not in _ONNX_DOMAINS:
            return f"operator {label} belongs to {bytes(content)[:40].decode(errors='replace')}, not to ONNX"
        if field == _NODE_ATTRIBUTE and any(
            inner in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS) for inner, _ in _fields(content)
        ):
            return f"operator {label} has a graph inside (a loop or a branch)"
    return None


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(number, content) of the fields that hold bytes or messages.

    Raises:
        ValueError: not the encoding of a message.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at, most=5)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(message, at, most=10)
        elif kind == _BYTES:
            length, at = _varint(message, at, most=10)
            if length > end - at:
                raise ValueError(f"a field of {length} bytes, {end - at} remain")
            yield tag >> 3, message[at : at + length]
            at += length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
            if at > end:
                raise ValueError("a field is cut")
        else:
            raise ValueError(f"a field of wire type {kind}")


def _varint(message: memoryview, at: int, most: int) -> tuple[int, int]:
    """A number of at most so many bytes, and where it ends."""
    value = 0
    for place, byte in enumerate(message[at : at + most]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("a number is cut or too long")
