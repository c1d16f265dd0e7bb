from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fastlic.errors import EngineUnavailable
from fastlic.kernels import build_cuda
from fastlic.kernels.cuda import launch
from fastlic.kernels.tensorrt import ptx

TEXT = """\
//
// Generated
//
.version 9.0
.target sm_80
.address_size 64

\t// a note of the compiler's
.visible .entry one(
\t.param .u64 one_param_0
)
{
\tret;
}
\t// another
.visible .entry one_more(
\t.param .u64 one_more_param_0
)
{
\tret;
}
"""


def test_module_is_cut_down_to_its_head_and_one_kernel() -> None:
    assert ptx.only(TEXT, "one_more") == (
        ".version 9.0\n.target sm_80\n.address_size 64\n\t// a note of the compiler's\n\n"
        ".visible .entry one_more(\n\t.param .u64 one_more_param_0\n)\n{\n\tret;\n}\n"
    )


def test_kernel_that_a_module_lacks_is_an_error() -> None:
    with pytest.raises(KeyError, match="on"):
        ptx.only(TEXT, "on")


@pytest.mark.parametrize(("capability", "chosen"), [((7, 5), 75), ((8, 0), 80), ((8, 9), 80), ((12, 0), 80)])
def test_device_gets_the_newest_ptx_that_is_not_newer_than_it(
    tmp_path: Path, capability: tuple[int, int], chosen: int
) -> None:
    for number in build_cuda.PTX_ARCHITECTURES:
        content = TEXT.replace("sm_80", f"sm_{number}").replace("one_more", "deform_conv2d_f16_8x8x64")
        (tmp_path / f"deform_conv2d.sm_{number}.ptx").write_text(content)

    found = ptx.load("deform_conv2d_f16_8x8x64", capability, tmp_path)

    assert f".target sm_{chosen}\n".encode() in found


def test_device_older_than_the_kernels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"compute capability 7\.0 is below 7\.5"):
        ptx.load("deform_conv2d_f16_8x8x64", (7, 0), tmp_path)


def test_installation_without_kernels_says_how_to_have_them(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"sm_80\.ptx is missing.*FASTLIC_CUDA_ARCHS=all; or .* standard"):
        ptx.load("deform_conv2d_f16_8x8x64", (8, 9), tmp_path)


@pytest.mark.parametrize(
    "source", build_cuda.PTX_SOURCES if os.environ.get("FASTLIC_TENSORRT_CHECK") else ["deform_conv2d_f32"]
)
def test_what_is_cut_out_assembles_and_fits_a_plugin(tmp_path: Path, source: str) -> None:
    """A plugin compiled ahead of time has no shared memory but static, at most 48 KB."""
    if shutil.which("nvcc") is None or shutil.which("ptxas") is None:
        pytest.skip("no nvcc or ptxas")
    path = build_cuda.HERE / "cuda" / f"{source}.cu"
    for number in build_cuda.PTX_ARCHITECTURES:
        build_cuda.compile_ptx(build_cuda.find_nvcc(), path, tmp_path, number)
        for kernel in launch.KERNELS[source]:
            (tmp_path / "one.ptx").write_bytes(ptx.load(kernel, divmod(number, 10), tmp_path))
            command = [
                "ptxas",
                "-v",
                f"-arch=sm_{number}",
                str(tmp_path / "one.ptx"),
                "-o",
                str(tmp_path / "one.cubin"),
            ]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stderr

            (resources,) = build_cuda.parse_report(said)
            assert (resources.kernel, resources.spill_stores, resources.stack) == (kernel, 0, 0)
            assert resources.shared <= 48 << 10
