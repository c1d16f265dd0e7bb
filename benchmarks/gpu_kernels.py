"""The CUDA kernels beside the GPU's limits, timed by events on their stream.

Knows shapes and arguments of `kernels/cuda`; `launch` knows grids, `driver` the device. A GPU's matrix rate is that of
`torch.matmul` in half, where torch is installed; otherwise only memory bounds a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fastlic.benchmarks.kernels import limit_of
from fastlic.benchmarks.measure import Summary
from fastlic.benchmarks.report import KernelRow, NotRun, Report
from fastlic.benchmarks.sampling import Effort, collect

if TYPE_CHECKING:
    from fastlic.kernels.cuda.driver import Addressed, Device, Stream
    from fastlic.kernels.cuda.launch import Launch

DEFORM = "deform_conv2d"
GPU_COPY, GPU_MATRIX = "GPU copy GB/s", "GPU matrix product GFLOP/s"
_COPIED = 1 << 28  # bytes, beyond the caches of every GPU so far
_MATRIX = 8192
_HALF = 2  # bytes
MAPS = ((128, 192, 64), (256, 384, 64), (192, 128, 128), (384, 256, 128))
"""Height, width and channels."""


@dataclass(frozen=True)
class Work:
    """A launch with its arguments, and what it must compute and move."""

    kernel: str
    shape: str
    plan: Launch
    arguments: Sequence[Addressed | int]
    flops: float
    moved: float


def measure_gpu_kernels(
    report: Report,
    effort: Effort,
    say: Callable[[str], None],
    maps: Sequence[tuple[int, int, int]] = MAPS,
    copied: int = _COPIED,
) -> None:
    """Add the GPU's limits and a row for each kernel and map.

    Args:
        report: to add to.
        effort: how long to measure each.
        say: told about progress.
        maps: (height, width, channels), multiples of 8.
        copied: bytes of the copy that measures bandwidth.

    Raises:
        EngineUnavailable: there is no GPU, no driver, or no kernels for it; the message says which.
    """
    from fastlic.kernels.cuda.driver import open_device
    from fastlic.kernels.cuda.library import KernelLibrary

    device = open_device(0)
    library = KernelLibrary(device)
    stream = device.stream()
    say(f"the limits of {device.name}")
    copy = Summary.of(_copies(device, stream, copied, effort)).median
    report.roofline[GPU_COPY] = gbps = 2 * copied / copy / 1e9
    gflops = _matrix_rate()
    if gflops is not None:
        report.roofline[GPU_MATRIX] = gflops
    for height, width, channels in maps:
        for work in (_deform(device, height, width, channels), _gdn(device, height * width, channels)):
            say(f"{work.kernel} {work.shape}")
            run = partial(library.launch, work.plan, work.arguments, stream)
            sample = _events(device, stream, run, effort)
            limit, bound = limit_of(work.flops, work.moved, gbps, gflops)
            report.kernels.append(
                KernelRow(
                    work.kernel, work.shape, device.name, Summary.of(sample), work.flops, work.moved, limit, bound
                )
            )
    library.close()


def add_gpu_peers(report: Report, effort: Effort, maps: Sequence[tuple[int, int, int]] = MAPS) -> None:
    """Add torchvision's and ONNX Runtime's deformable convolution beside ours, or why they did not run.

    Args:
        report: with our rows for the same maps.
        effort: how long to measure each.
        maps: as `measure_gpu_kernels`.
    """
    from fastlic.benchmarks.gpu_peers import measure_peers

    ours = {row.shape: row for row in report.kernels if row.kernel == DEFORM}
    found, absent = measure_peers(maps, effort)
    for (name, (height, width, channels)), seconds in found.items():
        report.kernels.append(replace(ours[_deform_shape(height, width, channels)], by=name, seconds=seconds))
    report.absent += [NotRun(f"{DEFORM} by {name}", why) for name, why in absent.items()]


def _deform_shape(height: int, width: int, channels: int) -> str:
    return f"{channels} to {channels} 3x3, {width}x{height}"


def _events(device: Device, stream: Stream, enqueue: Callable[[], None], effort: Effort) -> list[float]:
    """Seconds between events around each launch; the host waits for the second before the next."""
    begin, end = device.event(timing=True), device.event(timing=True)

    def once() -> float:
        begin.record(stream)
        enqueue()
        end.record(stream)
        end.synchronize()
        return end.seconds_since(begin)

    return collect(once, effort)


def _copies(device: Device, stream: Stream, size: int, effort: Effort) -> list[float]:
    from fastlic.kernels.cuda.driver import Region

    source, target = device.allocate(size), device.allocate(size)
    width = 1 << 12
    box = (1, size // width, width)
    regions = [Region(buffer.pointer, width, size // width) for buffer in (source, target)]
    found = _events(device, stream, lambda: stream.copy_box(regions[0], regions[1], box), effort)
    source.close()
    target.close()
    return found


def _deform(device: Device, height: int, width: int, channels: int) -> Work:
    from fastlic.kernels.cuda import launch

    pixels, taps = height * width, 9
    plan = launch.deform_conv2d(
        1, height, width, channels, channels, precision="f16", multiprocessors=device.multiprocessors
    )
    rng = np.random.default_rng(0)
    x, weight = (_half(device, rng, size) for size in (pixels * channels, taps * channels * channels))
    offsets, bias = _half(device, rng, pixels * 2 * taps), _half(device, rng, channels)
    y = device.allocate(_HALF * pixels * channels)
    slope = int(np.float32(1).view(np.int32))
    arguments: list[Addressed | int] = [
        x,
        offsets,
        x,
        weight,
        bias,
        height,
        width,
        channels,
        channels,
        2 * taps,
        0,
        slope,
        y,
    ]
    moved = _HALF * (2 * pixels * channels + 2 * taps * pixels + taps * channels * channels)
    shape = _deform_shape(height, width, channels)
    return Work(DEFORM, shape, plan, arguments, 2.0 * taps * channels * channels * pixels, moved)


def _gdn(device: Device, pixels: int, channels: int) -> Work:
    from fastlic.kernels.cuda import launch

    rng = np.random.default_rng(0)
    x, residual = (_half(device, rng, pixels * channels) for _ in range(2))
    gamma = _uploaded(device, np.abs(rng.normal(size=channels * channels)).astype(np.float16))
    beta = _uploaded(device, np.ones(channels, np.float32))
    y = device.allocate(_HALF * pixels * channels)
    arguments: list[Addressed | int] = [x, gamma, beta, residual, pixels, channels, 1, 1, y]
    moved = _HALF * (3 * pixels * channels + channels * channels)
    plan = launch.gdn(pixels, channels)
    return Work("gdn", f"{channels}, {pixels} pixels", plan, arguments, 2.0 * channels * channels * pixels, moved)


def _half(device: Device, rng: np.random.Generator, count: int) -> Addressed:
    return _uploaded(device, rng.normal(size=count).astype(np.float16))


def _uploaded(device: Device, values: np.ndarray) -> Addressed:
    buffer = device.allocate(values.nbytes)
    stream = device.stream()
    stream.upload(buffer.pointer, values)
    stream.synchronize()
    return buffer


def _matrix_rate() -> float | None:
    """GFLOP/s of a product of large matrices in half by torch, timed by its events; None without torch on the GPU."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    if not torch.cuda.is_available():
        return None
    square = torch.ones((_MATRIX, _MATRIX), dtype=torch.float16, device="cuda")
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def once() -> float:
        begin.record()
        square @ square
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1000

    return 2 * _MATRIX**3 / Summary.of(collect(once, Effort(seconds=1.0))).median / 1e9
