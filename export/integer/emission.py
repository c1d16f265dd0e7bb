"""Integer layers in ONNX: float32 tensors that only ever hold integers, or multiples of a power of two; channels last.

Knows ONNX; what is computed is defined by `lattice`, which is the oracle, and how layers form graphs is `graphs`'
matter. Only ops of `ALLOWED_OPS` occur: none of them rounds, reorders or contracts anything that the certificate does
not cover. A convolution is padded, displaced slices are concatenated, and one MatMul sums them.
Rule: docs/exactness.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fastlic.export.integer.certificate import certificate_of
from fastlic.export.integer.lattice import INT16, Activation, Layer

OPSET = 22
IR_VERSION = 10
ALLOWED_OPS = frozenset(
    "Add Cast Clip Concat Flatten Floor MatMul Max Mul Pad Reshape Slice Transpose".split()  # noqa: SIM905
)
_END = np.iinfo(np.int64).max


class GraphBuilder:
    """Collects nodes and initialisers of one exact graph. Methods take and return tensor names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: dict[str, onnx.TensorProto] = {}

    def constant(self, value: np.ndarray, name: str | None = None) -> str:
        """An initialiser; equal ones are stored once unless named."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(value))
        if name is None:
            name = f"c_{value.dtype}_{'x'.join(map(str, value.shape))}_{value.tobytes().hex()[:64]}"
            while name in self.initialisers and self.initialisers[name].raw_data != tensor.raw_data:
                name += "_"  # the same beginning, another end
        tensor.name = name
        self.initialisers.setdefault(name, tensor)
        return name

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """One node of one output; it must be of `ALLOWED_OPS`."""
        if kind not in ALLOWED_OPS:
            raise ValueError(f"{kind} is not allowed in an exact graph")
        output = name or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def scalar(self, value: float) -> str:
        """A float32 constant of rank 0."""
        return self.constant(np.array(value, np.float32))

    def ints(self, *values: int) -> str:
        """An int64 constant of rank 1."""
        return self.constant(np.array(values, np.int64))

    def slice(
        self,
        x: str,
        axes: Sequence[int],
        starts: Sequence[int],
        ends: Sequence[int],
        step: int = 1,
        steps: Sequence[int] = (),
    ) -> str:
        """x[start:end:step] on some axes; an end of 0 means the end of the axis, `steps` gives each axis its own."""
        limits = [end or _END for end in ends]
        by = list(steps) or [step] * len(axes)
        return self.op("Slice", x, self.ints(*starts), self.ints(*limits), self.ints(*axes), self.ints(*by))

    def clip(self, x: str, low: int, high: int) -> str:
        """Limit to integers."""
        return self.op("Clip", x, self.scalar(low), self.scalar(high))

    def padded(self, x: str, reach: int) -> str:
        """Zeros around rows and columns of (h, w, C)."""
        return self.op("Pad", x, self.ints(reach, reach, 0, reach, reach, 0)) if reach else x

    def rename(self, tensor: str, name: str) -> None:
        """Give the newest node's output the name of a graph's output."""
        if self.nodes[-1].output[0] != tensor:
            raise ValueError(f"{tensor} is not the newest tensor")
        self.nodes[-1].output[0] = name

    def publish(self, tensor: str, name: str) -> None:
        """Make a tensor the output `name` of the graph, whatever else uses it."""
        for node in self.nodes:
            for ends in (node.input, node.output):
                for position, end in enumerate(ends):
                    if end == tensor:
                        ends[position] = name

    def model(self, name: str, inputs: Iterable[onnx.ValueInfoProto], outputs: Iterable[onnx.ValueInfoProto]) -> bytes:
        """The serialised model, checked."""
        graph = helper.make_graph(self.nodes, name, list(inputs), list(outputs), list(self.initialisers.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.producer_name = "fastlic"
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


def emit_product(build: GraphBuilder, x: str, layer: Layer, number: int) -> str:
    """MatMul of one product with its floor: x (..., rows of the weight) -> (..., outputs), in units of 2^-fraction.

    Where a layer is one product the unit is the output's own, which spares a multiplication: the weights are then
    divided by a power of two, and sums are multiples of that power below 2^24 of it, as exact as integers.
    """
    product = layer.products[number]
    single = len(layer.products) == 1
    exponent = -product.shift if single else layer.fraction - product.shift
    dtype = np.int8 if np.abs(product.weight).max(initial=0) <= 127 else np.int16
    weight = build.constant(product.weight.astype(dtype), f"{layer.name}.{number}.weight")
    scaled = f"{layer.name}.{number}.scaled"
    if not any(node.output[0] == scaled for node in build.nodes):
        real = build.op("Cast", weight, to=TensorProto.FLOAT)
        build.op(
            "Mul",
            real,
            build.constant(np.exp2(exponent.astype(np.float32)), f"{layer.name}.{number}.scale"),
            name=scaled,
        )
    t = build.op("MatMul", x, scaled)
    return t if single or (exponent >= 0).all() else build.op("Floor", t)


def emit_sum(build: GraphBuilder, terms: Sequence[str], layer: Layer, *, bias: bool = True) -> str:
    """The sum of products, and of the bias unless another graph adds it."""
    total = terms[0]
    if bias:
        unit = -layer.fraction if len(layer.products) == 1 else 0 * layer.fraction
        value = layer.bias.astype(np.float64) * np.exp2(unit.astype(np.float64))
        total = build.op("Add", total, build.constant(value.astype(np.float32), f"{layer.name}.bias"))
    for term in terms[1:]:
        total = build.op("Add", total, term)
    return total


def emit_rounding(build: GraphBuilder, total: str, layer: Layer) -> str:
    """From a sum to the layer's output: integers in float32, or int16 parameters where the layer is a chain's last."""
    q = emit_integers(build, total, layer)
    return build.op("Cast", q, to=TensorProto.INT16) if layer.activation is None else q


def emit_integers(build: GraphBuilder, total: str, layer: Layer) -> str:
    """From a sum to the layer's output as integers in float32, parameters of a chain's last layer too."""
    if len(layer.products) > 1:
        factor = build.constant(np.exp2(-layer.fraction.astype(np.float32)), f"{layer.name}.unit")
        total = build.op("Mul", total, factor)
    q = build.op("Floor", total)
    if layer.activation is None:
        if certificate_of(layer).output >= INT16:
            q = build.clip(q, -INT16, INT16)
        return q
    return emit_activation(build, q, layer.activation)


def emit_activation(build: GraphBuilder, q: str, activation: Activation) -> str:
    """Clip and leaky ReLU; every product stays below 2^24 and every constant is dyadic."""
    q = build.clip(q, activation.low, activation.high)
    if activation.slope in (0, 1 << activation.slope_shift):
        return q
    shrunk = build.op("Floor", build.op("Mul", q, build.scalar(activation.slope / (1 << activation.slope_shift))))
    return build.op("Max", q, shrunk)


def emit_layer(build: GraphBuilder, x: str, layer: Layer) -> str:
    """A layer of one input on a whole grid: (h, w, C) -> (h, w, outputs); phases are not interleaved."""
    terms = []
    for number, product in enumerate(layer.products):
        reach = max(max(abs(row), abs(column)) for row, column in product.taps)
        around = build.padded(x, reach)
        slices = [displaced(build, around, tap, reach, product.channels) for tap in product.taps]
        terms.append(emit_product(build, concatenated(build, slices), layer, number))
    return emit_rounding(build, emit_sum(build, terms, layer), layer)


def displaced(build: GraphBuilder, padded: str, by: tuple[int, int], reach: int, channels: tuple[int, int]) -> str:
    """The map (h, w, channels) that `by` (rows, columns) points at, out of one padded by `reach`."""
    starts = (reach + by[0], reach + by[1], channels[0])
    return build.slice(padded, (0, 1, 2), starts, (by[0] - reach, by[1] - reach, channels[1]))


def concatenated(build: GraphBuilder, parts: Sequence[str]) -> str:
    """Parts side by side along the channels of (h, w, C)."""
    return build.op("Concat", *parts, axis=2) if len(parts) > 1 else parts[0]


def interleaved(build: GraphBuilder, x: str, channels: int) -> str:
    """Four phases (h, w, 4 channels) -> (2h, 2w, channels)."""
    x = build.op("Transpose", build.op("Reshape", x, build.ints(0, 0, 2, 2, channels)), perm=[0, 2, 1, 3, 4])
    return build.op("Reshape", build.op("Flatten", x, axis=2), build.ints(0, -1, channels))


def port(name: str, kind: int, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    """An input or output of a graph; names in `shape` stand for sizes that vary."""
    return helper.make_tensor_value_info(name, kind, list(shape))


def layer_graph(layer: Layer) -> bytes:
    """A layer of one product alone: x float32 (n, rows of the weight) -> y (n, outputs). For worst-sign vectors."""
    build = GraphBuilder()
    result = emit_rounding(build, emit_sum(build, [emit_product(build, "x", layer, 0)], layer), layer)
    build.rename(result, "y")
    kind = TensorProto.INT16 if layer.activation is None else TensorProto.FLOAT
    rows, outputs = layer.products[0].weight.shape
    return build.model("layer", [port("x", TensorProto.FLOAT, ("n", rows))], [port("y", kind, ("n", outputs))])
