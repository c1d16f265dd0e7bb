"""benchmarks/kernels.py on small operators: the rows and their limits, not the times."""

from __future__ import annotations

import pytest
import tiny_student

from fastlic.benchmarks import kernels
from fastlic.benchmarks.kernels import Operator, limit_of, measure_kernels
from fastlic.benchmarks.report import Report
from fastlic.benchmarks.sampling import Effort
from fastlic.kernels import native

pytest.importorskip("onnx", reason="operators are put into graphs of one node")

BRIEF = Effort(0, 1, 0, 2)
SMALL = (Operator("Conv", 4, 6, 8, 8, 3), Operator("DeformConv", 4, 4, 8, 8, 3), Operator("DepthToSpace", 8, 2, 4, 4))


def test_measure_kernels_gives_a_row_for_each_operator_and_maker(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_COPIED", 1 << 20)
    monkeypatch.setattr(kernels, "made_up", lambda width, height: tiny_student.picture(64, 64))
    report.kernels.clear()

    measure_kernels(report, BRIEF, lambda text: None, SMALL)

    makers = ["onnxruntime", "fastlic"] if native.available() else ["onnxruntime"]
    found = [(row.kernel, row.by) for row in report.kernels if row.limit]
    assert found == [(operator.name, maker) for operator in SMALL for maker in makers]
    assert all(row.seconds.count == 2 and row.limit > 0 for row in report.kernels if row.limit)
    assert [row.by for row in report.kernels if not row.limit] == ["constriction", *makers[1:]]


def test_operator_counts_what_its_definition_needs() -> None:
    conv = Operator("Conv", 64, 256, 128, 192, 3)

    assert conv.flops == 2 * 64 * 256 * 9 * 128 * 192
    assert conv.moved == 4 * ((64 + 256) * 128 * 192 + 64 * 256 * 9)
    assert Operator("DepthToSpace", 8, 2, 4, 4).moved == 4 * 2 * 8 * 16


def test_limit_is_that_of_the_slower_resource() -> None:
    assert limit_of(flops=1e9, moved=1e9, copy_gbps=10, matrix_gflops=100) == (0.1, "memory")
    assert limit_of(flops=1e10, moved=1e7, copy_gbps=10, matrix_gflops=100) == (0.1, "arithmetic")
    assert limit_of(flops=1e10, moved=1e9, copy_gbps=10, matrix_gflops=None) == (0.1, "memory")
