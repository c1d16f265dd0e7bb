"""The plugin library in C++: its launches are Python's, and it does as a plugin what TensorRT asks of one.

The second half needs TensorRT's public headers (`FASTLIC_TENSORRT_INCLUDE` names their folder) and the CUDA toolkit's.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from fastlic.errors import EngineUnavailable, FastlicError
from fastlic.kernels.build_cuda import find_nvcc
from fastlic.kernels.cuda import launch
from fastlic.kernels.tensorrt import build, plugin

HERE = Path(__file__).parent
SOURCES = Path(build.__file__).parent
LINEAR, HWC8, HWC = 0, 2, 8  # nvinfer1::TensorFormat


def compiled(target: Path, sources: Sequence[Path], includes: Sequence[Path]) -> Path:
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    folders = [f"-I{folder}" for folder in (SOURCES, *includes)]
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Wno-deprecated-declarations"]
    subprocess.run(["g++", *flags, *folders, *map(str, sources), "-o", str(target)], check=True)
    return target


def expected(case: Sequence[int], half: bool, multiprocessors: int) -> str:
    try:
        plan = launch.deform_conv2d(*case, precision="f16" if half else "f32", multiprocessors=multiprocessors)
    except FastlicError:
        return "refused"
    return " ".join(map(str, (plan.kernel, *plan.grid, plan.threads)))


def test_launches_in_cpp_are_those_of_python(tmp_path: Path) -> None:
    program = compiled(tmp_path / "launch", [HERE / "deform_launch_host.cpp"], [])
    maps = [(1, 1, 1), (1, 32, 48), (2, 33, 47), (1, 192, 128), (3, 7, 1000), (70000, 4, 4), (1, 8192, 8192)]
    widths = [(8, 8), (64, 64), (40, 72), (128, 128), (96, 136), (8, 256), (8, 264), (12, 8), (0, 8), (8, 20)]
    cases = [
        ((*size, *width), half, sms) for size, width, half, sms in itertools.product(maps, widths, (1, 0), (1, 132))
    ]
    lines = "\n".join(" ".join(map(str, (*case, half, sms))) for case, half, sms in cases)

    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == [expected(case, bool(half), sms) for case, half, sms in cases]


@pytest.fixture(scope="module")
def include() -> Path:
    """TensorRT's public headers."""
    folder = Path(os.environ.get("FASTLIC_TENSORRT_INCLUDE", "/usr/include/x86_64-linux-gnu"))
    if not (folder / "NvInferRuntime.h").exists():
        pytest.skip("no headers of TensorRT: FASTLIC_TENSORRT_INCLUDE names their folder")
    return folder


@pytest.fixture(scope="module")
def cuda_include() -> Path:
    """The CUDA toolkit's headers."""
    try:
        nvcc = Path(find_nvcc()).resolve()
    except EngineUnavailable as why:
        pytest.skip(str(why))
    folders = [nvcc.parents[1] / "include", *sorted(Path("/usr/local").glob("cuda*/include"))]
    for folder in folders:
        if (folder / "cuda_runtime_api.h").exists():
            return folder
    pytest.skip("no headers of CUDA")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, include: Path, cuda_include: Path) -> Path:
    sources = [HERE / "tensorrt_plugin_host.cpp", SOURCES / "deform_plugin.cpp"]
    return compiled(tmp_path_factory.mktemp("plugin") / "host", sources, [include, cuda_include])


def answers(
    host: Path, case: Sequence[int], *, half: bool, masked: bool = False, sms: int = 132
) -> dict[str, list[str]]:
    """First word of a line -> the others; of several such lines, all."""
    words = [*case, int(half), int(masked), sms]
    done = subprocess.run([host, *map(str, words)], capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        kind, *rest = line.split()
        found.setdefault(kind, []).extend(rest)
    return found


def test_creator_has_the_name_and_the_fields_of_the_node(host: Path) -> None:
    found = answers(host, (1, 32, 48, 64, 64), half=True)

    assert found["creator"] == ["1", plugin.NAME, plugin.VERSION, plugin.NAMESPACE, "masked", "slope"]


@pytest.mark.parametrize(("half", "layout"), [(True, HWC8), (False, HWC)])
def test_maps_have_their_channels_last_and_weights_are_linear(host: Path, half: bool, layout: int) -> None:
    found = answers(host, (1, 32, 48, 64, 64), half=half)["format"]

    assert [tuple(map(int, found[i : i + 2])) for i in range(0, len(found), 2)] == [
        *((0, layout), (1, layout), (2, layout), (3, LINEAR), (4, LINEAR), (5, layout))
    ]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("case", [(1, 32, 48, 128, 128), (1, 192, 128, 64, 64), (2, 5, 7, 8, 136)])
def test_enqueue_launches_the_kernel_with_its_arguments(
    host: Path, case: tuple[int, ...], half: bool, masked: bool
) -> None:
    found = answers(host, case, half=half, masked=masked)

    said = found["launch"]
    scalars, pointers = said.index("scalars"), said.index("pointers")
    assert " ".join(said[:scalars]) == expected(case, half, 132)
    _, height, width, channels, outputs = case
    strides = (24, 16 if masked else 0) if half else (18, 9 if masked else 0)
    assert said[scalars + 1 : pointers] == [
        *map(str, (height, width, channels, outputs, *strides, plugin.slope_bits(0.25)))
    ]
    assert said[pointers + 1 :] == ["1", "2", "3", "4", "5", "6", "7"]
    assert found["type"] == ["0", "1"]
    assert found["shape"] == ["0", "BNhw"]
    assert found["enqueued"] == ["0"]


@pytest.mark.parametrize("case", [(1, 32, 48, 12, 64), (1, 32, 48, 64, 264)])
def test_shape_that_no_kernel_does_is_refused(host: Path, case: tuple[int, ...]) -> None:
    found = answers(host, case, half=True)

    assert found["accepted"] == ["1"]
    assert "enqueued" not in found


@pytest.mark.skipif(not os.environ.get("FASTLIC_TENSORRT_CHECK"), reason="half a minute: see `make tensorrt-check`")
def test_library_compiles_with_its_kernels_and_exports_what_trtexec_asks_for(tmp_path: Path, include: Path) -> None:
    library = build.build(include, tmp_path / "libfastlic_tensorrt.so", (90,))

    symbols = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    assert {"getCreators", "setLoggerFinder"} <= {line.split()[-1] for line in symbols.splitlines()}


def test_example_that_runs_an_engine_compiles_without_a_warning(include: Path, cuda_include: Path) -> None:
    source = HERE.parents[2] / "examples" / "tensorrt" / "run_engine.cpp"
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations", "-fsyntax-only"]

    subprocess.run(["g++", *flags, f"-I{include}", f"-I{cuda_include}", str(source)], check=True)


def test_absent_headers_are_told(tmp_path: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc")
    with pytest.raises(EngineUnavailable, match=r"there is no NvInferRuntime\.h in"):
        build.build(tmp_path, tmp_path / "out.so")
