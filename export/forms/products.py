"""Write matrix products as convolutions of 1x1, for engines that have no float32 product on old GPUs.

TensorRT for RTX builds none for compute capability 7.5, and a convolution of 1x1 sums the same numbers: nothing is
contracted or transformed, so an exact graph stays exact (docs/exactness.md).
Knows `MatMul` with a constant matrix; knows nothing of engines.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fastlic.export.forms.editing import Editor, constant_of, replace


def to_convolutions(graph: ir.Graph) -> None:
    """Rewrite each `MatMul` (..., K) by a constant (K, N) in place: rows become the pixels of one map."""
    for node in [node for node in graph if node.op_type == "MatMul"]:
        x, matrix = node.inputs[0], constant_of(node.inputs[1])
        if x is None or matrix is None or matrix.ndim != 2:
            continue
        name, (inner, outer) = node.outputs[0].name, matrix.shape
        add = Editor(graph, node)
        rows = add.op("Reshape", [x, add.constant(np.array([1, -1, 1, inner]), f"{name}.rows")])
        pixels = add.op("Transpose", [rows], perm=[0, 3, 1, 2])
        kernel = add.constant(np.ascontiguousarray(matrix.T).reshape(outer, inner, 1, 1), f"{name}.kernel")
        product = add.op("Conv", [pixels, kernel], kernel_shape=[1, 1])
        back = add.op("Transpose", [product], perm=[0, 2, 3, 1])
        front = add.op("Shape", [x], start=0, end=-1)
        shape = add.op("Concat", [front, add.constant(np.array([outer]), f"{name}.outer")], axis=0)
        replace(node, add.op("Reshape", [back, shape]))
