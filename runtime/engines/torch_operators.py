"""What each ONNX operator means, in PyTorch: the table of the `torch` engine.

Knows the operators that exported graphs use, as ONNX opset 22 defines them, one small function each; an operator that
is not in `OPERATORS` is an error when a graph is loaded. Tensors live on any device; shapes are int64 tensors, as in
ONNX, and always on the CPU.
Source: the ONNX operator specification.
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlic.runtime.engines.torch_convolutions import average_pool, conv, conv_transpose, deform_conv

if TYPE_CHECKING:
    from torch import Tensor

Attributes = Mapping[str, Any]
Operator = Callable[..., "Tensor | Sequence[Tensor]"]
"""Called with the node's attributes, then one tensor (or None) per input."""


def _ints(tensor: Tensor) -> list[int]:
    return [int(value) for value in tensor.reshape(-1)]


def _pointwise(function: Callable[..., Tensor]) -> Operator:
    """An operator without attributes that is one function of its tensors."""
    return lambda attributes, *tensors: function(*tensors)


def _folded(name: str) -> Operator:
    """An operator of any number of tensors that folds one method over them."""
    return lambda attributes, *tensors: reduce(lambda x, y: getattr(x, name)(y), tensors)


def _method(name: str) -> Operator:
    """An operator without attributes that is one method of its first tensor."""
    return lambda attributes, x, *others: getattr(x, name)(*others)


def _torch_type(onnx_type: int) -> Any:
    import torch
    from onnx import helper

    return torch.from_numpy(np.empty(0, helper.tensor_dtype_to_np_dtype(onnx_type))).dtype


def _cast(attributes: Attributes, x: Tensor) -> Tensor:
    return x.to(_torch_type(attributes["to"]))


def _clip(attributes: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    if low is not None:
        x = x.maximum(low)
    return x if high is None else x.minimum(high)


def _divide(attributes: Attributes, x: Tensor, y: Tensor) -> Tensor:
    return x.div(y) if x.is_floating_point() else x.div(y, rounding_mode="trunc")


def _leaky_relu(attributes: Attributes, x: Tensor) -> Tensor:
    from torch.nn import functional

    return functional.leaky_relu(x, attributes.get("alpha", 0.01))


def _softmax(attributes: Attributes, x: Tensor) -> Tensor:
    return x.softmax(attributes.get("axis", -1))


def _gemm(attributes: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if attributes.get("transA") else a
    b = b.T if attributes.get("transB") else b
    product = attributes.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + attributes.get("beta", 1.0) * c


def _reduce(name: str) -> Operator:
    def over_axes(attributes: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        over = tuple(range(x.ndim)) if axes is None else tuple(_ints(axes))
        if axes is None and attributes.get("noop_with_empty_axes"):
            return x
        result: Tensor = getattr(x, name)(dim=over, keepdim=bool(attributes.get("keepdims", 1)))
        return result

    return over_axes


def _constant(attributes: Attributes) -> Tensor:
    import torch

    (kind, value), *_ = attributes.items()
    types = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
    return torch.from_numpy(np.array(value, types.get(kind)))


def _constant_of_shape(attributes: Attributes, shape: Tensor) -> Tensor:
    import torch

    value = attributes.get("value", np.zeros(1, np.float32))
    return torch.from_numpy(np.full(_ints(shape), value[0], value.dtype))


def _shape(attributes: Attributes, x: Tensor) -> Tensor:
    import torch

    return torch.tensor(tuple(x.shape)[attributes.get("start", 0) : attributes.get("end")], dtype=torch.int64)


def _reshape(attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    wanted = _ints(shape)
    if not attributes.get("allowzero"):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(attributes: Attributes, x: Tensor) -> Tensor:
    axis = attributes.get("axis", 1)
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


def _transpose(attributes: Attributes, x: Tensor) -> Tensor:
    return x.permute(*attributes.get("perm", range(x.ndim)[::-1]))


def _squeeze(attributes: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(_ints(axes)))


def _unsqueeze(attributes: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    wanted = _ints(axes)
    rank = x.ndim + len(wanted)
    for axis in sorted(axis % rank for axis in wanted):
        x = x.unsqueeze(axis)
    return x


def _concat(attributes: Attributes, *tensors: Tensor) -> Tensor:
    import torch

    return torch.cat(tensors, attributes["axis"])


def _expand(attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    import torch

    return x.expand(torch.broadcast_shapes(x.shape, _ints(shape)))


def _tile(attributes: Attributes, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(_ints(repeats))


def _gather(attributes: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    axis = attributes.get("axis", 0) % x.ndim
    chosen = indices.reshape(-1).long() % x.shape[axis]
    flat = x.index_select(axis, chosen if chosen.device == x.device else _index(tuple(chosen.tolist()), x.device))
    return flat.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _slice(
    attributes: Attributes,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    first, last = _ints(starts), _ints(ends)
    over = range(len(first)) if axes is None else _ints(axes)
    # Python's slicing rules, except that an end before the first element, below -size, is written None.
    strides = [1] * len(first) if steps is None else _ints(steps)
    for axis, start, end, step in zip(over, first, last, strides, strict=True):
        kept = range(x.shape[axis])[start : None if step < 0 and end < -x.shape[axis] else end : step]
        if step == 1:
            x = x.narrow(axis, kept.start if kept else 0, len(kept))
        else:
            x = x.index_select(axis, _index(tuple(kept), x.device))
    return x


@lru_cache(256)
def _index(values: tuple[int, ...], device: Any) -> Tensor:
    """Indices on a device. Kept: what CUDA captures must not copy from the host."""
    import torch

    return torch.tensor(values, dtype=torch.int64, device=device)


def _split(attributes: Attributes, x: Tensor, sizes: Tensor | None = None) -> Sequence[Tensor]:
    axis = attributes.get("axis", 0)
    if sizes is not None:
        return x.split(_ints(sizes), axis)
    parts = attributes["num_outputs"]
    return x.split(-(-x.shape[axis] // parts), axis)


def _pad(
    attributes: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    from torch.nn import functional

    mode = attributes.get("mode", "constant")
    if mode != "constant":
        raise ValueError(f"padding mode {mode!r} is not supported")
    amounts = _ints(pads)
    over = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in _ints(axes)]
    around = [(0, 0)] * x.ndim
    for number, axis in enumerate(over):
        around[axis] = (amounts[number], amounts[number + len(over)])
    flat = [amount for pair in reversed(around) for amount in pair]
    return functional.pad(x, flat, value=0 if value is None else value.item())


def _depth_to_space(attributes: Attributes, x: Tensor) -> Tensor:
    block = attributes["blocksize"]
    batch, channels, height, width = x.shape
    if attributes.get("mode", "DCR") == "CRD":
        parts = x.reshape(batch, channels // block**2, block, block, height, width).permute(0, 1, 4, 2, 5, 3)
    else:
        parts = x.reshape(batch, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(batch, channels // block**2, height * block, width * block)


def _space_to_depth(attributes: Attributes, x: Tensor) -> Tensor:
    block = attributes["blocksize"]
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels, height // block, block, width // block, block).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(batch, channels * block**2, height // block, width // block)


def _range(attributes: Attributes, start: Tensor, limit: Tensor, step: Tensor) -> Tensor:
    import torch

    return torch.arange(start.item(), limit.item(), step.item(), dtype=start.dtype)


def _where(attributes: Attributes, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return x.where(condition, y)


OPERATORS: dict[str, Operator] = {
    "Abs": _method("abs"),
    "Add": _pointwise(python.add),
    "And": _method("logical_and"),
    "AveragePool": average_pool,
    "Cast": _cast,
    "Ceil": _method("ceil"),
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DeformConv": deform_conv,
    "DepthToSpace": _depth_to_space,
    "Div": _divide,
    "Equal": _method("eq"),
    "Exp": _method("exp"),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _method("floor"),
    "Gather": _gather,
    "Gemm": _gemm,
    "Greater": _method("gt"),
    "Identity": _pointwise(lambda x: x),
    "LeakyRelu": _leaky_relu,
    "Less": _method("lt"),
    "MatMul": _method("matmul"),
    "Max": _folded("maximum"),
    "Min": _folded("minimum"),
    "Mul": _pointwise(python.mul),
    "Neg": _method("neg"),
    "Not": _method("logical_not"),
    "Or": _method("logical_or"),
    "Pad": _pad,
    "Pow": _method("pow"),
    "Range": _range,
    "Reciprocal": _method("reciprocal"),
    "ReduceMax": _reduce("amax"),
    "ReduceMean": _reduce("mean"),
    "ReduceMin": _reduce("amin"),
    "ReduceSum": _reduce("sum"),
    "Relu": _method("relu"),
    "Reshape": _reshape,
    "Round": _method("round"),  # to even on ties, in both
    "Shape": _shape,
    "Sigmoid": _method("sigmoid"),
    "Slice": _slice,
    "Softmax": _softmax,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Sqrt": _method("sqrt"),
    "Squeeze": _squeeze,
    "Sub": _pointwise(python.sub),
    "Tanh": _method("tanh"),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
