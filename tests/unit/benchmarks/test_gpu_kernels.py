"""benchmarks/gpu_kernels.py on the emulated driver and device: what is launched and counted, not the times."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest

from fastlic.benchmarks.gpu_kernels import GPU_COPY, add_gpu_peers, measure_gpu_kernels
from fastlic.benchmarks.measure import Summary
from fastlic.benchmarks.report import KernelRow, NotRun, Report
from fastlic.benchmarks.sampling import Effort
from fastlic.errors import EngineUnavailable

BRIEF = Effort(0, 1, 0, 2)


def test_gpu_kernels_are_launched_and_set_beside_the_limits(emulation: ModuleType, report: Report) -> None:
    from emulation.cuda import EmulatedCuda

    report.kernels.clear()
    assert emulation.compiler() is not None
    with EmulatedCuda().installed() as cuda:
        measure_gpu_kernels(report, BRIEF, lambda text: None, maps=((8, 8, 16),), copied=1 << 16)

    assert [row.kernel for row in report.kernels] == ["deform_conv2d", "gdn"]
    assert [row.seconds.count for row in report.kernels] == [2, 2]
    assert report.roofline[GPU_COPY] > 0
    assert sum(name.startswith("deform_conv2d") for name in cuda.launches) == 3  # one warms up
    assert report.kernels[0].flops == 2 * 9 * 16 * 16 * 64


def test_gpu_peers_stand_beside_ours_or_say_why_not(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = KernelRow("deform_conv2d", "16 to 16 3x3, 8x8", "GPU", Summary(2, 1.0, 1.0, 1.0), 1e6, 1e5, 0.5, "memory")
    report.kernels[:] = [ours]
    theirs = Summary(2, 4.0, 4.0, 4.0)
    monkeypatch.setattr(
        "fastlic.benchmarks.gpu_peers.measure_peers",
        lambda maps, effort: ({("torchvision", maps[0]): theirs}, {"onnxruntime": "it is not installed"}),
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
