"""The window operators of the `torch` engine: convolution (plain, transposed, deformable) and average pooling.

Knows ONNX's attributes for them; knows nothing of graphs. Two spatial dimensions only.
Source: the ONNX operator specification; Dai et al. 2017 for the deformable one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def _padding(attributes: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """(top, left, bottom, right)."""
    if attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise ValueError(f"auto_pad {attributes['auto_pad']!r} is not supported, only explicit pads")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    return top, left, bottom, right


def _pair(attributes: Mapping[str, Any], name: str) -> tuple[int, int]:
    vertical, horizontal = attributes.get(name, (1, 1))
    return vertical, horizontal


def conv(attributes: Mapping[str, Any], x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`Conv`: (B, C, h, w) -> (B, O, h', w')."""
    from torch.nn import functional

    top, left, bottom, right = _padding(attributes)
    if (top, left) != (bottom, right):
        x, top, left = functional.pad(x, (left, right, top, bottom)), 0, 0
    return functional.conv2d(
        x,
        weight,
        bias,
        stride=_pair(attributes, "strides"),
        padding=(top, left),
        dilation=_pair(attributes, "dilations"),
        groups=attributes.get("group", 1),
    )


def conv_transpose(attributes: Mapping[str, Any], x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`ConvTranspose` with equal pads on opposite sides."""
    from torch.nn import functional

    top, left, bottom, right = _padding(attributes)
    if (top, left) != (bottom, right) or "output_shape" in attributes:
        raise ValueError("ConvTranspose with unequal pads or an output_shape is not supported")
    return functional.conv_transpose2d(
        x,
        weight,
        bias,
        stride=_pair(attributes, "strides"),
        padding=(top, left),
        output_padding=tuple(attributes.get("output_padding", (0, 0))),
        groups=attributes.get("group", 1),
        dilation=_pair(attributes, "dilations"),
    )


def average_pool(attributes: Mapping[str, Any], x: Tensor) -> Tensor:
    """`AveragePool` without padding and dilation."""
    from torch.nn import functional

    if any(_padding(attributes)) or _pair(attributes, "dilations") != (1, 1):
        raise ValueError("AveragePool with padding or dilation is not supported")
    window = tuple(attributes["kernel_shape"])
    return functional.avg_pool2d(x, window, _pair(attributes, "strides"), ceil_mode=bool(attributes.get("ceil_mode")))


def deform_conv(
    attributes: Mapping[str, Any],
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """`DeformConv` without groups: a gather and a matrix product per tap.

    Args:
        attributes: of the node.
        x: (B, C, h, w) float32.
        weight: (O, C, kh, kw).
        offset: (B, 2 kh kw, h', w') pixels; channel 2t is dy and 2t + 1 is dx of tap t, row-major.
        bias: (O,).
        mask: (B, kh kw, h', w'), what each sample is multiplied by.

    Returns:
        (B, O, h', w'). Samples are bilinear, and zero outside the map.
    """
    import torch

    if attributes.get("group", 1) != 1 or attributes.get("offset_group", 1) != 1:
        raise ValueError("DeformConv with groups is not supported")
    top, left, _, _ = _padding(attributes)
    stride_y, stride_x = _pair(attributes, "strides")
    dilation_y, dilation_x = _pair(attributes, "dilations")
    outputs, _, _, taps_x = weight.shape
    batch, taps, height, width = offset.shape[0], offset.shape[1] // 2, *offset.shape[2:]
    rows = torch.arange(height, device=x.device)[:, None] * stride_y - top
    columns = torch.arange(width, device=x.device) * stride_x - left
    result = x.new_zeros(batch, outputs, height * width)
    for tap in range(taps):
        i, j = divmod(tap, taps_x)
        at_y = rows + i * dilation_y + offset[:, 2 * tap]
        at_x = columns + j * dilation_x + offset[:, 2 * tap + 1]
        samples = _bilinear(x, at_y, at_x)
        result += weight[:, :, i, j] @ (samples if mask is None else samples * mask[:, tap].flatten(1)[:, None])
    if bias is not None:
        result += bias[:, None]
    return result.reshape(batch, outputs, height, width)


def _bilinear(x: Tensor, at_y: Tensor, at_x: Tensor) -> Tensor:
    """Sample (B, C, h, w) at fractional positions (B, h', w'); zero outside the map. Returns (B, C, h' w')."""
    batch, channels, height, width = x.shape
    top, left = at_y.floor(), at_x.floor()
    total = x.new_zeros(batch, channels, at_y[0].numel())
    for row, share_y in ((top, 1 - (at_y - top)), (top + 1, at_y - top)):
        for column, share_x in ((left, 1 - (at_x - left)), (left + 1, at_x - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            corner = x.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, channels, -1))
            total += corner * (share_y * share_x * inside).flatten(1)[:, None]
    return total
