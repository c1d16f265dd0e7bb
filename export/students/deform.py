"""Deformable convolution (DCNv1, stride 1) as the torch operator `fastlic::deform_conv2d`.

Knows the operator, its gradient and its ONNX form; knows nothing of the networks that use it.
`deform_conv2d_reference` is the readable twin of the gathering implementation.
Rule: docs of ONNX `DeformConv`, opset 22, without mask. Source: Dai et al. 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def deform_conv2d_reference(x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor) -> Tensor:
    """The definition, one tap at a time: bilinear samples, zero outside the map.

    Args:
        x: (B, C, h, w) float.
        weight: (O, C, k, k) float, k odd; samples around each output pixel, stride 1, padding k // 2.
        offset: (B, 2 k k, h, w) float, pixels; channel 2t is dy and 2t + 1 is dx of tap t in row-major order.
        bias: (O,) float.

    Returns:
        (B, O, h, w) float.
    """
    batch, channels, height, width = x.shape
    size = weight.shape[2]
    rows = torch.arange(height, dtype=x.dtype)[:, None]
    columns = torch.arange(width, dtype=x.dtype)[None, :]
    total = bias[None, :, None, None].expand(batch, -1, height, width)
    for tap in range(size * size):
        i, j = divmod(tap, size)
        y_at = rows + (i - size // 2) + offset[:, 2 * tap]
        x_at = columns + (j - size // 2) + offset[:, 2 * tap + 1]
        top, left = y_at.floor(), x_at.floor()
        sample = torch.zeros_like(x)
        for corner_y, share_y in ((top, top + 1 - y_at), (top + 1, y_at - top)):
            for corner_x, share_x in ((left, left + 1 - x_at), (left + 1, x_at - left)):
                inside = (corner_y >= 0) & (corner_y < height) & (corner_x >= 0) & (corner_x < width)
                index = corner_y.clamp(0, height - 1).long() * width + corner_x.clamp(0, width - 1).long()
                values = x.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, channels, -1)).view_as(x)
                sample = sample + values * (share_y * share_x * inside)[:, None]
        total = total + torch.einsum("oc,bchw->bohw", weight[:, :, i, j], sample)
    return total


def _corners(offset: Tensor, height: int, width: int, size: int) -> tuple[Tensor, Tensor]:
    """Where each tap samples.

    Returns:
        index (n, 4) int64, rows of the (B h w, C) map that a tap mixes, and share (n, 4), their bilinear weights, zero
        for corners outside the map; n = B h w k k, taps innermost.
    """
    batch = offset.shape[0]
    taps = size * size
    device = offset.device
    # Coordinates in bfloat16, 8 bits, would be half a pixel off from column 64 on.
    wide = offset.to(torch.promote_types(offset.dtype, torch.float32))
    at = wide.view(batch, taps, 2, height, width).permute(2, 0, 3, 4, 1)  # 2, B, h, w, taps
    tap = torch.arange(taps, device=device)
    rows = torch.arange(height, device=device)[:, None, None] + tap // size - size // 2
    columns = torch.arange(width, device=device)[None, :, None] + tap % size - size // 2
    # Beyond one pixel outside everything is zero: the clamp keeps the indices small whatever the offsets are.
    y_at = (at[0] + rows).clamp(-1, height)
    x_at = (at[1] + columns).clamp(-1, width)
    top, left = y_at.detach().floor(), x_at.detach().floor()
    low_y, low_x = y_at - top, x_at - left
    top, left = top.long(), left.long()
    share_y = torch.stack(((1 - low_y) * ((top >= 0) & (top < height)), low_y * (top < height - 1)), -1)
    share_x = torch.stack(((1 - low_x) * ((left >= 0) & (left < width)), low_x * (left < width - 1)), -1)
    index_y = torch.stack((top.clamp(0, height - 1), (top + 1).clamp(0, height - 1)), -1)
    index_x = torch.stack((left.clamp(0, width - 1), (left + 1).clamp(0, width - 1)), -1)
    first = torch.arange(batch, device=device)[:, None, None, None, None, None] * (height * width)
    index = first + index_y[..., :, None] * width + index_x[..., None, :]
    share = share_y[..., :, None] * share_x[..., None, :]
    return index.reshape(-1, 4), share.reshape(-1, 4)


def gather_deform_conv2d(x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor) -> Tensor:
    """The same as `deform_conv2d_reference`, fast: one weighted gather of pixels, one matrix product.

    Differentiable in every argument by composition; arguments and result as in the reference.
    """
    batch, channels, height, width = x.shape
    outputs, size = weight.shape[0], weight.shape[2]
    index, share = _corners(offset, height, width, size)
    pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
    # Shares of a pixel are too fine for bfloat16, and its gather is slower: under autocast only the product is in it.
    wide = torch.promote_types(pixels.dtype, torch.float32)
    samples = functional.embedding_bag(index, pixels.to(wide), per_sample_weights=share.to(wide), mode="sum")
    flat = weight.permute(2, 3, 1, 0).reshape(-1, outputs)
    product = torch.addmm(bias, samples.view(-1, size * size * channels), flat)
    return product.view(batch, height, width, outputs).permute(0, 3, 1, 2).contiguous()


@torch.library.custom_op("fastlic::deform_conv2d", mutates_args=())
def deform_conv2d(x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor) -> Tensor:
    """Deformable convolution; arguments and result as in `deform_conv2d_reference`."""
    with torch.no_grad():
        return gather_deform_conv2d(x, weight, offset, bias)


@deform_conv2d.register_fake
def _fake(x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0], x.shape[2], x.shape[3]))


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    # The samples (9 times the input) are gathered again rather than kept: memory is scarcer than time here.
    needs = zip(ctx.saved_tensors, ctx.needs_input_grad, strict=True)
    inputs = [tensor.detach().requires_grad_(needed) for tensor, needed in needs]
    with torch.enable_grad():
        output = gather_deform_conv2d(*inputs)
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    found = iter(torch.autograd.grad(output, wanted, gradient))
    return tuple(next(found) if tensor.requires_grad else None for tensor in inputs)


deform_conv2d.register_autograd(_backward, setup_context=_save)


class DeformConv2d(nn.Module):
    """A `size` x `size` deformable convolution whose offsets come from `offset`, a plain convolution of the same input.

    (B, inputs, h, w) -> (B, outputs, h, w). Offsets start at zero; with `enabled` False the block is exactly its plain
    convolution, which trains several times faster.
    """

    def __init__(self, inputs: int, outputs: int, size: int = 3) -> None:
        super().__init__()
        plain = nn.Conv2d(inputs, outputs, size)
        self.weight = plain.weight
        self.bias = nn.Parameter(plain.bias.detach())  # type: ignore[union-attr]
        self.offset = nn.Conv2d(inputs, 2 * size * size, size, padding=size // 2)
        zero_offsets(self)
        self.enabled = True

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block; shapes in the class docstring."""
        if not self.enabled:
            return functional.conv2d(x, self.weight, self.bias, padding=self.weight.shape[2] // 2)
        if torch.is_grad_enabled() and self.training and not torch.compiler.is_exporting():
            return gather_deform_conv2d(x, self.weight, self.offset(x), self.bias)
        return deform_conv2d(x, self.weight, self.offset(x), self.bias)


def enable_offsets(model: nn.Module, enabled: bool) -> None:
    """Switch every deformable convolution of `model` on, or to its plain convolution."""
    for module in model.modules():
        if isinstance(module, DeformConv2d):
            module.enabled = enabled


def zero_offsets(model: nn.Module) -> None:
    """Make every deformable convolution of `model` equal its plain convolution; the offsets can still be trained."""
    for module in model.modules():
        if isinstance(module, DeformConv2d):
            for parameter in module.offset.parameters():
                nn.init.zeros_(parameter)


def disable_zero_offsets(model: nn.Module) -> None:
    """Make plain convolutions of the deformable ones whose offsets are zero everywhere: the same function, for less."""
    for module in model.modules():
        if isinstance(module, DeformConv2d) and not any(bool(part.any()) for part in module.offset.parameters()):
            module.enabled = False


def onnx_translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Our operator as ONNX `DeformConv`, opset 22: a `custom_translation_table` for `torch.onnx.export`.

    The kernel's size is read from the weight's static shape.
    """
    from onnxscript import opset22

    def as_deform_conv(x: Any, weight: Any, offset: Any, bias: Any) -> Any:
        size = int(weight.shape[2])
        return opset22.DeformConv(
            x, weight, offset, bias, kernel_shape=[size, size], pads=[size // 2] * 4, strides=[1, 1], dilations=[1, 1]
        )

    return {torch.ops.fastlic.deform_conv2d.default: as_deform_conv}
