"""The CUDA kernels beside the GPU's limits, timed by events on their stream.

A launch takes the host longer than many of these kernels take the device, so a graph of several launches of one kernel
lies between two events, and its time is divided. Data of small maps then lies in the device's cache, as in a decode:
such a row can be faster than the memory's limit. Knows limits and times; `gpu_work` knows what is launched.
A GPU's matrix rate is that of `torch.matmul` in half, where torch is installed; otherwise only memory bounds a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fastlic.benchmarks.gpu_work import DEFORM, Map, Work, Workbench, deform_shape
from fastlic.benchmarks.kernels import limit_of
from fastlic.benchmarks.measure import Summary
from fastlic.benchmarks.report import KernelRow, NotRun, Report
from fastlic.benchmarks.sampling import Effort, collect

if TYPE_CHECKING:
    from fastlic.kernels.cuda.driver import Device, Stream
    from fastlic.kernels.cuda.library import KernelLibrary
    from fastlic.runtime.entropy.tables import MixtureTables

GPU_COPY, GPU_BUS, GPU_MATRIX = "GPU copy GB/s", "GPU to host GB/s", "GPU matrix product GFLOP/s"
COPIED = 1 << 28
"""Bytes of the copies that measure bandwidths, beyond the caches of every GPU so far."""
LAUNCHES = 20
"""Of one kernel between two events."""
MAPS: tuple[Map, ...] = ((32, 48, 128), (128, 192, 64), (256, 384, 64), (128, 192, 128), (256, 384, 128))
_MATRIX = 8192


def measure_gpu_kernels(
    report: Report,
    effort: Effort,
    say: Callable[[str], None],
    maps: Sequence[Map] = MAPS,
    copied: int = COPIED,
) -> None:
    """Add the GPU's limits and a row for each kernel and map.

    Args:
        report: to add to.
        effort: how long to measure each.
        say: told about progress.
        maps: (height, width, channels), multiples of 8.
        copied: bytes of the copies that measure bandwidths.

    Raises:
        EngineUnavailable: there is no GPU, no driver, or no kernels for it; the message says which.
    """
    from fastlic.kernels.cuda.driver import open_device
    from fastlic.kernels.cuda.library import KernelLibrary
    from fastlic.runtime.device.memory import Arena

    device = open_device(0)
    library = KernelLibrary(device)
    stream = device.stream()
    say(f"the limits of {device.name}")
    report.roofline.update(_limits(device, stream, copied, effort))
    for group in (lambda bench: bench.of_pass(_shipped_mixture()), lambda bench: bench.of_maps(maps)):
        arena = Arena(device)
        for work in group(Workbench(library, stream, arena)):
            say(f"{work.kernel} {work.shape}")
            report.kernels.append(_row(library, stream, work, report.roofline, effort))
        arena.close()
    library.close()


def add_gpu_peers(report: Report, effort: Effort, maps: Sequence[Map] = MAPS) -> None:
    """Add torchvision's and ONNX Runtime's deformable convolution beside ours, or why they did not run.

    Args:
        report: with our rows for the same maps.
        effort: how long to measure each.
        maps: as `measure_gpu_kernels`.
    """
    from fastlic.benchmarks.gpu_peers import measure_peers

    ours = {row.shape: row for row in report.kernels if row.kernel == DEFORM}
    found, absent = measure_peers(maps, effort, LAUNCHES)
    for (name, (height, width, channels)), seconds in found.items():
        report.kernels.append(replace(ours[deform_shape(height, width, channels)], by=name, seconds=seconds))
    report.absent += [NotRun(f"{DEFORM} by {name}", why) for name, why in absent.items()]


def _row(library: KernelLibrary, stream: Stream, work: Work, limits: dict[str, float], effort: Effort) -> KernelRow:
    launches = LAUNCHES

    def enqueue() -> None:
        for _ in range(launches):
            library.launch(work.plan, work.arguments, stream)

    graph = stream.capture(enqueue)
    sample = _events(library.device, stream, partial(graph.launch, stream), effort, launches)
    graph.close()
    limit, bound = limit_of(work.flops, work.moved, limits[GPU_COPY], limits.get(GPU_MATRIX))
    bus = work.bus / (limits[GPU_BUS] * 1e9)
    if bus > limit:
        limit, bound = bus, "bus"
    name = library.device.name
    return KernelRow(work.kernel, work.shape, name, Summary.of(sample), work.flops, work.moved, limit, bound)


def _events(device: Device, stream: Stream, enqueue: Callable[[], None], effort: Effort, calls: int = 1) -> list[float]:
    """Seconds between events around `calls` calls, for one; the host waits for the second event before the next."""
    begin, end = device.event(timing=True), device.event(timing=True)

    def once() -> float:
        begin.record(stream)
        enqueue()
        end.record(stream)
        end.synchronize()
        return end.seconds_since(begin) / calls

    return collect(once, effort)


def _limits(device: Device, stream: Stream, size: int, effort: Effort) -> dict[str, float]:
    """Bandwidth of copies on the device, counting reads and writes; of copies to pinned memory; rate of products."""
    source, target, host = device.allocate(size), device.allocate(size), device.allocate_host(size)
    view = host.view(np.uint8, size)
    copy = Summary.of(_events(device, stream, lambda: stream.copy(source.pointer, target.pointer, size), effort))
    bus = Summary.of(_events(device, stream, lambda: stream.download(view, source.pointer), effort))
    for buffer in (source, target, host):
        buffer.close()
    found = {GPU_COPY: 2 * size / copy.median / 1e9, GPU_BUS: size / bus.median / 1e9}
    gflops = _matrix_rate()
    return found if gflops is None else {**found, GPU_MATRIX: gflops}


def _shipped_mixture() -> MixtureTables:
    """The mixture of the shipped student's anchors."""
    from fastlic.runtime import bundle
    from fastlic.runtime.entropy.tables import MixtureTables

    with bundle.default() as student:
        found = (student.distribution(name) for name in student.manifest.distributions)
        mixtures = [tables for tables in found if isinstance(tables, MixtureTables)]
    return max(mixtures, key=lambda tables: len(tables.families))


def _matrix_rate() -> float | None:
    """GFLOP/s of a product of large matrices in half by torch, timed by its events; None without torch on the GPU."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    if not torch.cuda.is_available():
        return None
    # Not of ones: how much current the multipliers draw, and so their clock, depends on the values.
    square = torch.randn((_MATRIX, _MATRIX), dtype=torch.float16, device="cuda")
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def once() -> float:
        begin.record()
        square @ square
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1000

    return 2 * _MATRIX**3 / Summary.of(collect(once, Effort(seconds=1.0))).median / 1e9
