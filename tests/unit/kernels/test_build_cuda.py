"""`build_cuda.py`: the compiler's report, and what it says of the kernels as they are.

Compiles for sm_75, sm_90 and sm_120; FASTLIC_CUDA_ARCHS=all (or a list such as `80 86`) names others.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import pytest
import setuptools

from fastlic.errors import EngineUnavailable
from fastlic.kernels import build_cuda
from fastlic.kernels.build_cuda import Resources
from fastlic.kernels.cuda import fatbins, launch

DOCUMENT = Path(build_cuda.__file__).parent.parent / "docs" / "kernels.md"
ASKED = os.environ.get("FASTLIC_CUDA_ARCHS", "75 90 120")
ARCHITECTURES = build_cuda.architectures_of(ASKED)
SETUP = Path(build_cuda.__file__).parent.parent / "setup.py"
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
        build_cuda.find_nvcc()
    except EngineUnavailable as why:
        pytest.skip(str(why))
    folder = tmp_path_factory.mktemp("fatbins")
    found = build_cuda.build(folder, ASKED)
    assert {path.stem for path in folder.glob("*.fatbin")} == set(launch.KERNELS)
    return found


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


def test_architectures_are_read_in_any_order() -> None:
    assert build_cuda.architectures_of("90, 75 90") == (75, 90)
    assert build_cuda.architectures_of("all") == build_cuda.ARCHITECTURES


@pytest.mark.parametrize("asked", ["70", "90a", "sm_90"])
def test_architecture_without_kernels_is_refused(asked: str) -> None:
    with pytest.raises(EngineUnavailable, match=f"for {asked}: choose from 75"):
        build_cuda.architectures_of(asked)


def test_setup_where_asked_compiles_every_source_into_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "nvcc"  # writes what it was called with to the file after -o
    compiler.write_text('#!/bin/sh\nfor word; do [ "$last" = -o ] && echo "$*" > "$word"; last=$word; done\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("FASTLIC_CUDA_ARCHS", "80 90")
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    monkeypatch.setattr(sys, "path", [*sys.path])
    command = runpy.run_path(str(SETUP))["BuildNative"](setuptools.Distribution())
    command.build_lib, command.extensions = str(tmp_path / "lib"), []

    command.run()

    written = tmp_path / "lib" / "fastlic" / "kernels" / "cuda"
    assert {path.stem for path in written.glob("*.fatbin")} == set(launch.KERNELS)
    assert "code=sm_80" in (written / "transpose.fatbin").read_text()
    assert "code=sm_75" not in (written / "transpose.fatbin").read_text()


def test_fatbin_not_installed_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fatbins, "FOLDER", tmp_path)
    (tmp_path / "transpose.fatbin").write_bytes(b"code")

    assert fatbins.load("transpose") == b"code"
    assert "transpose" not in fatbins.missing()
    with pytest.raises(EngineUnavailable, match=r"deform_conv2d\.fatbin is missing.*FASTLIC_CUDA_ARCHS=all"):
        fatbins.load("deform_conv2d")
    assert "deform_conv2d" in fatbins.missing()


def test_limits_of_launches_are_those_of_the_sources() -> None:
    cuda = Path(launch.__file__).parent

    assert f"kMaxPixels = 1 << {(launch.MAX_PIXELS + 1).bit_length() - 1};" in (cuda / "deform_sampling.h").read_text()
    assert f"kPassThreads = {launch.PASS_THREADS};" in (cuda / "mixture_pass.h").read_text()


def test_sources_of_an_installed_package_are_said_to_be_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_cuda, "HERE", tmp_path)

    with pytest.raises(EngineUnavailable, match="source tree"):
        build_cuda.sources()


def test_tool_is_found_where_toolkits_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "compute-sanitizer"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))

    assert build_cuda.find_tool("compute-sanitizer") == str(tool)


def test_nvcc_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    monkeypatch.setattr(build_cuda, "TOOLKIT", str(tmp_path))

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
