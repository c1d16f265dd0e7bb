"""`build_cuda.py`: the compiler's report, and what it says of the kernels as they are.

Compiles for sm_75, sm_90 and sm_120; FASTLIC_CUDA_ARCHS=all (or a list such as `80 86`) names others.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastlic.errors import EngineUnavailable
from fastlic.kernels import build_cuda
from fastlic.kernels.build_cuda import Resources
from fastlic.kernels.cuda import launch

DOCUMENT = Path(build_cuda.__file__).parent.parent / "docs" / "kernels.md"
ASKED = os.environ.get("FASTLIC_CUDA_ARCHS", "75 90 120")
ARCHITECTURES = build_cuda.ARCHITECTURES if ASKED == "all" else tuple(sorted(int(word) for word in ASKED.split()))
REPORT = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'one' for 'sm_75'
ptxas info    : Function properties for one
    48 bytes stack frame, 44 bytes spill stores, 40 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 48 bytes cumulative stack size, 31488 bytes smem, 432 bytes cmem[0]
ptxas info    : Compile time = 8.040 ms
ptxas info    : Compiling entry function 'two' for 'sm_120'
ptxas info    : Function properties for two
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers
"""


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> list[Resources]:
    """Of every kernel on the architectures asked for."""
    try:
        nvcc = build_cuda.find_nvcc()
    except EngineUnavailable as why:
        pytest.skip(str(why))
    folder = tmp_path_factory.mktemp("fatbins")
    found = [build_cuda.compile_source(nvcc, path, folder, ARCHITECTURES) for path in build_cuda.sources()]
    assert {path.stem for path in folder.glob("*.fatbin")} == set(launch.KERNELS)
    return [entry for entries in found for entry in entries]


def test_report_is_read_entry_by_entry() -> None:
    assert build_cuda.parse_report(REPORT) == [
        Resources("one", 75, 168, 31488, 48, 44, 40),
        Resources("two", 120, 10, 0, 0, 0, 0),
    ]


def test_table_has_a_row_per_kernel_and_a_column_per_architecture() -> None:
    text = build_cuda.table(build_cuda.parse_report(REPORT))

    assert text.splitlines() == [
        "| kernel | shared | sm_75 | sm_120 |",
        "|---|---:|---:|---:|",
        "| `one` | 31488 | 168 | - |",
        "| `two` | 0 | - | 10 |",
    ]


def test_nvcc_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(EngineUnavailable, match="install the CUDA toolkit"):
        build_cuda.find_nvcc()


def test_source_that_does_not_compile_is_refused_with_what_the_compiler_said(tmp_path: Path) -> None:
    compiler = tmp_path / "nvcc"
    compiler.write_text("#!/bin/sh\necho 'expected a semicolon' >&2\nexit 1\n")
    compiler.chmod(0o755)

    with pytest.raises(EngineUnavailable, match=r"transpose.cu does not compile(.|\n)*expected a semicolon"):
        build_cuda.compile_source(str(compiler), launch_source("transpose"), tmp_path)


def launch_source(stem: str) -> Path:
    return Path(launch.__file__).parent / f"{stem}.cu"


def test_every_kernel_launched_by_name_is_compiled_and_no_other(resources: list[Resources]) -> None:
    expected = {(name, a) for names in launch.KERNELS.values() for name in names for a in ARCHITECTURES}

    assert {(entry.kernel, entry.architecture) for entry in resources} == expected


def test_no_kernel_spills_or_keeps_arrays_in_local_memory(resources: list[Resources]) -> None:
    assert [entry for entry in resources if entry.spill_stores or entry.spill_loads or entry.stack] == []


def test_every_kernel_fits_static_shared_memory(resources: list[Resources]) -> None:
    assert [entry for entry in resources if entry.shared > 48 * 1024] == []


def test_document_shows_these_figures(resources: list[Resources]) -> None:
    release = build_cuda.nvcc_release(build_cuda.find_nvcc())
    text = DOCUMENT.read_text(encoding="utf-8")
    if f"nvcc {release}" not in text:
        pytest.skip(f"docs/kernels.md is of another compiler than nvcc {release}, whose figures differ")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    header = next(row for row in rows if "sm_75" in " ".join(row))
    columns = {int(cell.strip().removeprefix("sm_")): i for i, cell in enumerate(header) if "sm_" in cell}
    shown = {row[0].strip(" `"): row for row in rows if len(row) == len(header)}

    for entry in resources:
        row = shown[entry.kernel]
        assert (int(row[1]), int(row[columns[entry.architecture]])) == (entry.shared, entry.registers), entry
