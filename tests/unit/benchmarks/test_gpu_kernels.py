"""benchmarks/gpu_kernels.py on the emulated driver and device: what is launched and counted, not the times."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest

from fastlic.benchmarks import gpu_kernels
from fastlic.benchmarks.gpu_kernels import GPU_BUS, GPU_COPY, add_gpu_peers, measure_gpu_kernels
from fastlic.benchmarks.gpu_work import Workbench
from fastlic.benchmarks.measure import Summary
from fastlic.benchmarks.report import KernelRow, NotRun, Report
from fastlic.benchmarks.sampling import Effort
from fastlic.errors import EngineUnavailable

BRIEF = Effort(0, 1, 0, 2)


def test_every_kernel_is_launched_and_set_beside_the_limits(
    emulation: ModuleType, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emulation.cuda import EmulatedCuda

    report.kernels.clear()
    assert emulation.compiler() is not None
    monkeypatch.setattr(gpu_kernels, "LAUNCHES", 2)
    monkeypatch.setattr(Workbench.of_pass, "__defaults__", ((4, 4, 4),))
    with EmulatedCuda().installed() as cuda:
        measure_gpu_kernels(report, BRIEF, lambda text: None, maps=((8, 8, 16),), copied=1 << 16)

    kernels = [row.kernel for row in report.kernels]
    assert kernels == [
        "mixture_classify", "scan_counts", "mixture_rows", "mixture_rows to the host", "scatter_symbols",
        "context_gather", "deform_conv2d", "deform_conv2d_f32", "gdn", "transpose_16",
    ]  # fmt: skip
    assert {row.seconds.count for row in report.kernels} == {2}
    assert report.roofline[GPU_COPY] > 0 < report.roofline[GPU_BUS]
    graphs = 3  # one warms up
    assert cuda.launches.count("gdn_f16_64x64") == 1 + graphs * 2
    deform = report.kernels[kernels.index("deform_conv2d")]
    assert deform.flops == 2 * 9 * 16 * 16 * 64
    assert cuda.allocated() == 0


def test_gpu_peers_stand_beside_ours_or_say_why_not(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = KernelRow("deform_conv2d", "16 to 16 3x3, 8x8", "GPU", Summary(2, 1.0, 1.0, 1.0), 1e6, 1e5, 0.5, "memory")
    report.kernels[:] = [ours]
    theirs = Summary(2, 4.0, 4.0, 4.0)
    monkeypatch.setattr(
        "fastlic.benchmarks.gpu_peers.measure_peers",
        lambda maps, effort, calls: ({("torchvision", maps[0]): theirs}, {"onnxruntime": "it is not installed"}),
    )

    add_gpu_peers(report, BRIEF, maps=((8, 8, 16),))

    assert report.kernels[1] == replace(ours, by="torchvision", seconds=theirs)
    assert report.absent[-1] == NotRun("deform_conv2d by onnxruntime", "it is not installed")


def test_gpu_kernels_without_a_gpu_say_so(report: Report) -> None:
    try:
        from fastlic.kernels.cuda.driver import open_device

        open_device(0)
    except EngineUnavailable:
        pass
    else:
        pytest.skip("there is a GPU")

    with pytest.raises(EngineUnavailable):
        measure_gpu_kernels(report, BRIEF, lambda text: None)
