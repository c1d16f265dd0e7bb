"""What the floating-point and layout kernels compute, in NumPy: readable, slow, in float64.

Each function has the name and the arguments of its kernel (plugin ABI: inputs, int32 scalars, outputs) and fills the
output.
Rules: Dai et al. 2017 (DCNv1), Zhu et al. 2019 (DCNv2). The integer kernels have their twins in entropy_twins.py.
"""

from __future__ import annotations

import numpy as np

TAPS = 9


def deform_conv2d(
    x: np.ndarray,
    offsets: np.ndarray,
    mask: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    height: int,
    width: int,
    in_channels: int,
    out_channels: int,
    offset_stride: int,
    mask_stride: int,
    slope: int,
    y: np.ndarray,
) -> None:
    """Deformable 3x3 convolution, stride 1, padding 1, with bias and LeakyReLU.

    Args:
        x: (batch, height, width, in_channels), float16 or float32.
        offsets: (batch, height, width, offset_stride), same dtype: (dy, dx) per tap, taps row by row, in pixels. A
            sample whose position is not finite, or a pixel or more outside, is 0; so is each neighbour that is outside.
        mask: (batch, height, width, mask_stride), same dtype: a factor per tap; not read when mask_stride is 0.
        weight: (9, in_channels, out_channels), same dtype.
        bias: (out_channels,), same dtype.
        height: of the maps.
        width: likewise.
        in_channels: a multiple of 8.
        out_channels: a multiple of 8.
        offset_stride: numbers per pixel of offsets, even, at least 18.
        mask_stride: of mask, at least 9, or 0.
        slope: bits of the float32 slope.
        y: (batch, height, width, out_channels), filled; any float dtype.
    """
    columns = sampled(x, offsets, mask if mask_stride else None)
    out = columns.reshape(*columns.shape[:3], TAPS * in_channels) @ weight.astype(np.float64).reshape(-1, out_channels)
    out += bias.astype(np.float64)
    y[...] = np.where(out < 0, out * np.float64(np.int32(slope).view(np.float32)), out)


def sampled(x: np.ndarray, offsets: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """What each tap of each output pixel sees: (batch, height, width, 9, channels) float64. Arguments as above."""
    batch, height, width, channels = x.shape
    pairs = offsets[..., : 2 * TAPS].astype(np.float64).reshape(batch, height, width, TAPS, 2)
    taps = np.arange(TAPS)
    rows = np.arange(height)[:, None, None] - 1 + taps // 3
    columns = np.arange(width)[:, None] - 1 + taps % 3
    at_y, at_x = rows + pairs[..., 0], columns + pairs[..., 1]
    hit = (at_y > -1) & (at_y < height) & (at_x > -1) & (at_x < width)  # false for NaN
    at_y, at_x = np.where(hit, at_y, 0.0), np.where(hit, at_x, 0.0)
    top, left = np.floor(at_y).astype(np.int64), np.floor(at_x).astype(np.int64)
    down, right = at_y - top, at_x - left
    maps = np.arange(batch)[:, None, None, None]
    result = np.zeros((batch, height, width, TAPS, channels))
    for below, beside in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = top + below, left + beside
        inside = hit & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        share = (down if below else 1 - down) * (right if beside else 1 - right)
        seen = x[maps, np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)].astype(np.float64)
        result += np.where(inside[..., None], share[..., None] * seen, 0.0)
    if mask is not None:
        result *= mask[..., :TAPS, None].astype(np.float64)
    return result


def gdn(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    residual: np.ndarray,
    pixels: int,
    channels: int,
    inverse: int,
    has_residual: int,
    y: np.ndarray,
) -> None:
    """(Inverse) generalised divisive normalisation, plus a shortcut.

    Args:
        x: (pixels, channels), float16.
        gamma: (channels, channels), float16, of input channel and output channel, not negative.
        beta: (channels,), float32, positive.
        residual: (pixels, channels), float16; not read when has_residual is 0.
        pixels: of all maps together.
        channels: a multiple of 8.
        inverse: whether to multiply by the root instead of dividing.
        has_residual: whether to add `residual`.
        y: (pixels, channels), filled; any float dtype.

    Source: Balle et al. 2016.
    """
    wide = x.astype(np.float64).reshape(pixels, channels)
    power = np.square(wide) @ gamma.astype(np.float64) + beta.astype(np.float64)
    root = np.sqrt(power)
    out = wide * root if inverse else wide / root
    y[...] = (out + residual.astype(np.float64).reshape(pixels, channels) if has_residual else out).reshape(y.shape)


def transpose(x: np.ndarray, rows: int, columns: int, y: np.ndarray) -> None:
    """Fill y (batch, columns, rows) with x (batch, rows, columns) transposed; any dtype."""
    y[...] = x.reshape(-1, rows, columns).swapaxes(1, 2)
