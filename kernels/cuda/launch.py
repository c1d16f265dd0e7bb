"""Which kernel to launch for a shape, and in what grid.

Knows the names and shapes of the instances in the `.cu` files beside this; the tests compile those files under exactly
these names. Knows nothing of memory or of a driver.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastlic.errors import EngineUnavailable, LimitExceeded

# Kernels of each source. `tests/unit/kernels/test_build_cuda.py` compares this with what the compiler finds.
KERNELS: dict[str, tuple[str, ...]] = {
    "deform_conv2d": (
        "deform_conv2d_f16_2x8x64",
        "deform_conv2d_f16_8x8x64",
        "deform_conv2d_f16_8x8x96",
        "deform_conv2d_f16_8x8x128",
        "deform_conv2d_f16_8x8x192",
        "deform_conv2d_f16_8x8x256",
    ),
    "deform_conv2d_f32": ("deform_conv2d_f32_8x8x64",),
    "transpose": ("transpose_16", "transpose_32"),
}

MAX_PIXELS = (1 << 26) - 1  # kMaxPixels of deform_sampling.h
MAX_GRID_Y = MAX_GRID_Z = 65535
TILE_COLUMNS = 8


@dataclass(frozen=True)
class Launch:
    """One launch: a kernel's name, blocks in (x, y, z) and threads along x of each."""

    kernel: str
    grid: tuple[int, int, int]
    threads: int


def deform_conv2d(
    batch: int,
    height: int,
    width: int,
    in_channels: int,
    out_channels: int,
    *,
    precision: Literal["f16", "f32"],
    multiprocessors: int,
) -> Launch:
    """The instance for a deformable convolution.

    One block computes all output channels of its pixels, so that they are sampled once. A map with too few tiles to
    occupy the device is cut into smaller ones, and its channels into slices of 64.

    Args:
        batch: maps, at least 1.
        height: of a map, in pixels.
        width: likewise.
        in_channels: a multiple of 8.
        out_channels: a multiple of 8, at most 256.
        precision: of tensors; sums are in float either way.
        multiprocessors: of the device.

    Returns:
        The launch.

    Raises:
        EngineUnavailable: the kernel cannot do these widths.
        LimitExceeded: the map or the batch is larger than the kernel counts.
    """
    if in_channels % 8 or out_channels % 8 or not (in_channels > 0 and 0 < out_channels <= 256):
        raise EngineUnavailable(
            f"deform_conv2d on CUDA has {in_channels} input and {out_channels} output channels; both must be "
            "multiples of 8, the latter at most 256: use the engine ort-cpu for this student"
        )
    if height * width > MAX_PIXELS or batch > MAX_GRID_Z:
        raise LimitExceeded(
            f"deform_conv2d on CUDA has {batch} maps of {height} x {width} pixels; at most {MAX_GRID_Z} of "
            f"{MAX_PIXELS} fit one launch: decode in windows"
        )
    if precision == "f32":
        return _deform("f32", 8, 64, 128, batch, height, width, out_channels)
    channels = next(c for c in (64, 96, 128, 192, 256) if c >= out_channels)
    whole = _deform("f16", 8, channels, 128 if channels <= 128 else 256, batch, height, width, out_channels)
    if whole.grid[0] * batch >= multiprocessors:
        return whole
    return _deform("f16", 2, 64, 128, batch, height, width, out_channels)


def transpose(batch: int, rows: int, columns: int, *, bits: Literal[16, 32]) -> Launch:
    """The launch that transposes `batch` matrices of `rows` x `columns` elements of `bits` bits.

    Raises:
        LimitExceeded: more rows or matrices than a grid counts.
    """
    grid = (-(-columns // 32), -(-rows // 32), batch)
    if grid[1] > MAX_GRID_Y or grid[2] > MAX_GRID_Z:
        raise LimitExceeded(
            f"transpose on CUDA has {batch} matrices of {rows} rows; at most {MAX_GRID_Z} of {32 * MAX_GRID_Y} fit one "
            "launch: decode in windows"
        )
    return Launch(f"transpose_{bits}", grid, 256)


def _deform(
    precision: str, rows: int, channels: int, threads: int, batch: int, height: int, width: int, out_channels: int
) -> Launch:
    """The launch of the instance with tiles of `rows` x 8 pixels and `channels` channels."""
    tiles = -(-height // rows) * -(-width // TILE_COLUMNS)
    name = f"deform_conv2d_{precision}_{rows}x{TILE_COLUMNS}x{channels}"
    return Launch(name, (tiles, -(-out_channels // channels), batch), threads)
