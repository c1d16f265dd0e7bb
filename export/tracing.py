"""A recipe's floating-point graphs as ONNX, heights and widths left open.

Knows how ports become traced inputs; how a module becomes ONNX is `graphs`' matter. Rule: docs/format.md, section 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

from fastlic.export.graphs import MAX_EDGE, emit
from fastlic.export.recipe import FloatGraph, Tensors

_SIZES = ((2, 3), (3, 5))
"""Height and width, in padding multiples, that graphs are traced with; what differs between the two varies."""


def emit_graph(graph: FloatGraph, multiple: int) -> bytes:
    """The serialised model of one graph, for pictures of multiples of `multiple` pixels."""
    rows, columns = Dim("rows", min=1, max=MAX_EDGE), Dim("columns", min=1, max=MAX_EDGE)
    examples = [example(port, multiple, *_SIZES[0]) for port in graph.inputs]
    return emit(
        graph.module,
        examples,
        [_varying(port, multiple, rows, columns) for port in graph.inputs],
        [port.name for port in graph.inputs],
        _output_shapes(graph, multiple, examples),
    )


def example(port: Tensors, multiple: int, rows: int, columns: int) -> Tensor:
    """Zeros (a rate of 1) of a port's type, for a picture of so many multiples."""
    height, width = rows * multiple // port.stride, columns * multiple // port.stride
    if port.kind == "picture":
        return torch.zeros(height, width, 3, dtype=torch.uint8)
    if port.kind == "rate":
        return torch.ones(1, dtype=torch.int32)
    dtype = torch.float32 if port.kind == "float" else torch.int16
    return torch.zeros(port.channels, height, width, dtype=dtype)


def _varying(port: Tensors, multiple: int, rows: Any, columns: Any) -> dict[int, Any]:
    """Axis -> dimension, for the axes that grow with the picture."""
    if port.kind == "rate":
        return {}
    first, scale = 0 if port.kind == "picture" else 1, multiple // port.stride
    return {first + axis: size if scale == 1 else scale * size for axis, size in enumerate((rows, columns))}


@torch.no_grad()
def _output_shapes(graph: FloatGraph, multiple: int, examples: Sequence[Tensor]) -> dict[str, list[int | str]]:
    """Output port -> sizes; those that grow with the picture have names."""
    larger = [example(port, multiple, *_SIZES[1]) for port in graph.inputs]
    module = graph.module.eval()
    return {
        port.name: [
            one if one == other else port.axes[axis] if port.axes else f"{port.name}_{axis}"
            for axis, (one, other) in enumerate(zip(small.shape, large.shape, strict=True))
        ]
        for port, small, large in zip(graph.outputs, module(*examples), module(*larger), strict=True)
    }
