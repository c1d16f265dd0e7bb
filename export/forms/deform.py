"""Write `DeformConv` for engines without it: as our plugin's node, or as GridSample and a plain convolution.

Knows the operator's definition and the plugin's ports; knows nothing of engines.
Rules: docs of ONNX `DeformConv` and `GridSample`, opset 22; the comment at the top of kernels/cuda/deform_conv2d.cu.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from fastlic.errors import EngineUnavailable
from fastlic.export.forms.editing import FLOAT, Editor, constant_of, replace
from fastlic.kernels.tensorrt import plugin

_PLAIN = {"strides": [1, 1], "dilations": [1, 1], "group": 1, "offset_group": 1}


@dataclass(frozen=True)
class _Operator:
    """A `DeformConv` of stride 1 with one group, its constants as arrays.

    Attributes:
        x: (B, C, h, w).
        offset: (B, 2 k k, h, w), pixels; (dy, dx) per tap.
        mask: (B, k k, h, w), or None.
        weight: (N, C, k, k).
        bias: (N,).
    """

    x: ir.Value
    offset: ir.Value
    mask: ir.Value | None
    weight: np.ndarray
    bias: np.ndarray

    @property
    def size(self) -> int:
        return int(self.weight.shape[2])


def to_plugin(graph: ir.Graph, *, ahead: bool) -> None:
    """Replace each `DeformConv` by our plugin, with a LeakyReLU that alone follows it.

    Inputs: x, offset, mask (the offset again where there is none: it is not read), weight (9, C, N), bias. All
    attributes are on the node, which TensorRT's parser asks for.

    Args:
        graph: is changed in place.
        ahead: for the plugin that is compiled ahead of time, not the one of the C++ library.

    Raises:
        EngineUnavailable: a form of the operator that the kernel does not do.
    """
    for number, node in enumerate([node for node in graph if node.op_type == "DeformConv"]):
        found = _operator(node)
        outputs, channels = found.weight.shape[:2]
        if found.size != 3 or channels % 8 or outputs % 8 or outputs > 256:
            raise EngineUnavailable(
                f"{node.name}: the plugin does 3x3 kernels whose channels are multiples of 8, at most 256 out, not "
                f"{found.weight.shape}: build with --form standard."
            )
        last, slope = _leaky_relu_after(node)
        add = Editor(graph, node)
        weight = add.constant(found.weight.transpose(2, 3, 1, 0).reshape(9, channels, outputs), f"{node.name}.weight")
        bias = add.constant(found.bias, f"{node.name}.bias")
        mask = found.offset if found.mask is None else found.mask
        result = add.op(
            plugin.NAME,
            [found.x, found.offset, mask, weight, bias],
            domain=plugin.NAMESPACE,
            name=f"{plugin.NODE_PREFIX}{number}",
            plugin_namespace=plugin.NAMESPACE,
            plugin_version=plugin.VERSION,
            masked=int(found.mask is not None),
            slope=plugin.slope_bits(slope),
            **({"aot": 1} if ahead else {}),
        )
        result.type = node.outputs[0].type
        if last is not node:
            last.replace_input_with(0, result)
            graph.remove(node, safe=True)
        replace(last, result)
        graph.opset_imports[plugin.NAMESPACE] = 1


def to_grid_sample(graph: ir.Graph) -> None:
    """Replace each `DeformConv` by one GridSample and one convolution.

    A row of what is sampled holds the taps of each pixel side by side, and the convolution steps from pixel to pixel.
    Positions and samples are float32 (half precision would place them by the half pixel in a map of 1024), the product
    is in the operator's own type.

    Raises:
        EngineUnavailable: the operator has a stride, dilation, group or mask.
    """
    for node in [node for node in graph if node.op_type == "DeformConv"]:
        found = _operator(node)
        if found.mask is not None:
            raise EngineUnavailable(f"{node.name}: has a mask, which the form grid-sample does not do.")
        kind = node.outputs[0].dtype or FLOAT
        add = Editor(graph, node)
        grid = _grid(add, found, str(node.name))
        x = found.x if kind == FLOAT else add.cast(found.x, FLOAT)
        samples = add.op("GridSample", [x, grid], mode="linear", padding_mode="zeros", align_corners=0)
        samples = samples if kind == FLOAT else add.cast(samples, kind)
        outputs, channels, taps = *found.weight.shape[:2], found.size**2
        weight = add.constant(found.weight.reshape(outputs, channels, 1, taps), f"{node.name}.weight")
        bias = add.constant(found.bias, f"{node.name}.bias")
        replace(node, add.op("Conv", [samples, weight, bias], kernel_shape=[1, taps], strides=[1, taps]))


def _operator(node: ir.Node) -> _Operator:
    x, weight, offset, bias, mask = (*node.inputs, None, None)[:5]
    weights, biases = constant_of(weight), constant_of(bias)
    if weights is None or x is None or offset is None or (bias is not None and biases is None):
        raise EngineUnavailable(f"{node.name}: the weights of this DeformConv are computed, not constant.")
    size = weights.shape[2]
    attributes = {name: _numbers(attribute) for name, attribute in node.attributes.items()}
    wanted = {**_PLAIN, "pads": [size // 2] * 4, "kernel_shape": [size, size]}
    for name, plain in wanted.items():
        if attributes.get(name, [0] * 4 if name == "pads" else plain) != plain:
            raise EngineUnavailable(f"{node.name}: {name} {attributes.get(name)} of this DeformConv; only {plain} is.")
    if biases is None:
        biases = np.zeros(len(weights), weights.dtype)
    return _Operator(x, offset, mask, weights, biases)


def _numbers(attribute: ir.Attr) -> object:
    return list(attribute.value) if attribute.type == ir.AttributeType.INTS else attribute.value


def _leaky_relu_after(node: ir.Node) -> tuple[ir.Node, float]:
    """The LeakyReLU that alone takes a node's output, and its slope; the node itself and 1 when there is none."""
    users = node.outputs[0].consumers()
    if len(users) == 1 and users[0].op_type == "LeakyRelu" and not node.outputs[0].is_graph_output():
        attribute = users[0].attributes.get("alpha")
        return users[0], 0.01 if attribute is None else attribute.as_float()
    return node, 1.0


def _grid(add: Editor, found: _Operator, name: str) -> ir.Value:
    """Where GridSample samples: (B, h, w k k, 2) float32, x before y, in its units.

    Pixel p of n has the coordinate (2 p + 1) / n - 1 (`align_corners` 0), which is defined for n = 1 too.
    """
    size, taps = found.size, found.size**2

    def constant(values: object, what: str, dtype: type = np.float32) -> ir.Value:
        return add.constant(np.array(values, dtype), f"{name}.{what}")

    last = add.op("Transpose", [found.offset], perm=[0, 2, 3, 1])
    pairs = add.op("Reshape", [last, constant([0, 0, 0, taps, 2], "pairs", np.int64)])
    swapped = add.op("Gather", [pairs, constant([1, 0], "swap", np.int64)], axis=4)
    offset = swapped if found.offset.dtype == FLOAT else add.cast(swapped, FLOAT)
    row, column = np.divmod(np.arange(taps), size)
    tap = np.stack([column, row], axis=-1) - (size // 2) + 0.5  # (x, y) from the pixel's edge
    position = add.op("Add", [offset, constant(tap, "taps")])
    zero, one = constant(0, "zero", np.int64), constant(1, "one", np.int64)
    shape = add.op("Shape", [found.offset])
    for axis, unit, alone in ((2, [0, 1], [-1, 1, 1, 1]), (3, [1, 0], [-1, 1, 1])):
        length = add.op("Gather", [shape, constant(axis, f"axis{axis}", np.int64)])
        index = add.cast(add.op("Range", [zero, length, one]), FLOAT)
        index = add.op("Reshape", [index, constant(alone, f"alone{axis}", np.int64)])
        position = add.op("Add", [position, add.op("Mul", [index, constant(unit, f"unit{axis}")])])
    extent = add.cast(add.op("Gather", [shape, constant([3, 2], "extent", np.int64)]), FLOAT)
    scaled = add.op("Mul", [position, add.op("Div", [constant(2, "two"), extent])])
    centred = add.op("Sub", [scaled, constant(1, "centre")])
    return add.op("Reshape", [centred, constant([0, 0, -1, 2], "grid", np.int64)])
