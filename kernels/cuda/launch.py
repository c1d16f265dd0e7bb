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
    "context_gather": ("context_gather",),
    "deform_conv2d": (
        "deform_conv2d_f16_2x8x64",
        "deform_conv2d_f16_8x8x64",
        "deform_conv2d_f16_8x8x96",
        "deform_conv2d_f16_8x8x128",
        "deform_conv2d_f16_8x8x192",
        "deform_conv2d_f16_8x8x256",
    ),
    "deform_conv2d_f32": ("deform_conv2d_f32_8x8x64",),
    "gdn": ("gdn_f16_64x64", "gdn_f16_64x96", "gdn_f16_64x128", "gdn_f16_32x192", "gdn_f16_32x256"),
    "mixture_classify": ("mixture_classify_1x3", "mixture_classify_3x3"),
    "mixture_rows": ("mixture_rows_1x3", "mixture_rows_3x3"),
    "scan_counts": ("scan_counts",),
    "scatter_symbols": ("scatter_symbols",),
    "transpose": ("transpose_16", "transpose_32"),
}

MAX_PIXELS = (1 << 26) - 1  # kMaxPixels of deform_sampling.h
MAX_GRID_Y = MAX_GRID_Z = 65535
TILE_COLUMNS = 8
PASS_THREADS = 256  # kPassThreads of mixture_pass.h
MAX_ELEMENTS = (1 << 31) - 1 - PASS_THREADS  # of a pass: they are numbered with int32
MIXTURES = {(1, 3): "1x3", (3, 3): "3x3"}  # families, components of each


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
    channels = _width(out_channels)
    whole = _deform("f16", 8, channels, 128 if channels <= 128 else 256, batch, height, width, out_channels)
    if whole.grid[0] * batch >= multiprocessors:
        return whole
    return _deform("f16", 2, 64, 128, batch, height, width, out_channels)


def deform_tile(kernel: str) -> tuple[int, int, int]:
    """(rows, columns, output channels) that a block of a deformable convolution's instance has, as its name says."""
    rows, columns, channels = kernel.rpartition("_")[2].split("x")
    return int(rows), int(columns), int(channels)


def gdn(pixels: int, channels: int) -> Launch:
    """The instance that normalises `pixels` pixels of `channels` channels.

    Raises:
        EngineUnavailable: the kernel cannot do this width.
        LimitExceeded: more pixels than the kernel counts.
    """
    if channels % 8 or not 0 < channels <= 256:
        raise EngineUnavailable(
            f"gdn on CUDA has {channels} channels; they must be a multiple of 8, at most 256: use the engine "
            "ort-cpu for this student"
        )
    if pixels > MAX_PIXELS:
        raise LimitExceeded(f"gdn on CUDA has {pixels} pixels; at most {MAX_PIXELS} fit one launch: decode in windows")
    width = _width(channels)
    rows = 64 if width <= 128 else 32
    return Launch(f"gdn_f16_{rows}x{width}", (-(-pixels // rows), 1, 1), 128)


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


@dataclass(frozen=True)
class MixturePass:
    """The launches that decode one mixture pass, in their order; the range decoder works between `rows` and `scatter`.

    Attributes:
        blocks: of 256 elements; scratch arrays are int32 (7, blocks).
        classify: K1.
        scan: between K1 and K2.
        rows: K2.
        scatter: K4.
    """

    blocks: int
    classify: Launch
    scan: Launch
    rows: Launch
    scatter: Launch


def has_mixture(families: int, components: int) -> bool:
    """Whether there are kernels for mixtures of so many families and components of each."""
    return (families, components) in MIXTURES


def mixture_pass(channels: int, height: int, width: int, *, families: int, components: int) -> MixturePass:
    """The launches for a pass whose packed array is (channels, height, width).

    Raises:
        EngineUnavailable: no kernel has so many families and components.
        LimitExceeded: the pass has more elements than a kernel counts.
    """
    instance = MIXTURES.get((families, components))
    if instance is None:
        raise EngineUnavailable(
            f"no CUDA kernel evaluates mixtures of {families} families with {components} components each, only "
            f"{', '.join(MIXTURES.values())}: use the engine ort-cpu for this student"
        )
    size = channels * height * width
    if not 0 < size <= MAX_ELEMENTS:
        raise LimitExceeded(f"a pass of {channels} x {height} x {width} elements; CUDA kernels count to {MAX_ELEMENTS}")
    grid = (-(-size // PASS_THREADS), 1, 1)
    return MixturePass(
        grid[0],
        Launch(f"mixture_classify_{instance}", grid, PASS_THREADS),
        Launch("scan_counts", (1, 1, 1), 1024),
        Launch(f"mixture_rows_{instance}", grid, PASS_THREADS),
        scatter_symbols(size),
    )


def scatter_symbols(size: int) -> Launch:
    """The launch that places a pass of `size` elements in its latent."""
    return Launch("scatter_symbols", (-(-size // PASS_THREADS), 1, 1), PASS_THREADS)


def context_gather(channels: int, height: int, width: int) -> Launch:
    """The launch that gathers the context of a packed array (channels, height, width).

    Raises:
        LimitExceeded: more rows than a grid counts.
    """
    if height > MAX_GRID_Y:
        raise LimitExceeded(f"context_gather on CUDA has {height} rows; at most {MAX_GRID_Y} fit: decode in tiles")
    return Launch("context_gather", (-(-width // 32), height, -(-channels // 32)), 256)


def _width(channels: int) -> int:
    """The narrowest instance of half-precision kernels with so many channels."""
    return next(width for width in (64, 96, 128, 192, 256) if width >= channels)


def _deform(
    precision: str, rows: int, channels: int, threads: int, batch: int, height: int, width: int, out_channels: int
) -> Launch:
    """The launch of the instance with tiles of `rows` x 8 pixels and `channels` channels."""
    tiles = -(-height // rows) * -(-width // TILE_COLUMNS)
    name = f"deform_conv2d_{precision}_{rows}x{TILE_COLUMNS}x{channels}"
    return Launch(name, (tiles, -(-out_channels // channels), batch), threads)
