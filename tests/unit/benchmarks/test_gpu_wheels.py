"""What is collected for a machine without network: settings, linking, the check of the outcome; nothing is fetched."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from fastlic.benchmarks import gpu_wheels

compiled = pytest.mark.skipif(
    shutil.which("cc") is None or shutil.which("readelf") is None, reason="no C compiler here"
)


@compiled
def test_module_linked_by_these_settings_asks_for_the_driver(tmp_path: Path) -> None:
    """As distutils calls the linker: LDFLAGS come last."""
    gpu_wheels.write_settings(tmp_path, Path("/toolkit"))
    settings = runpy.run_path(str(tmp_path / ".aksetup-defaults.py"))
    source, module = tmp_path / "module.c", tmp_path / "module.so"
    source.write_text("int cuInit(unsigned); int start(void) { return cuInit(0); }\n")

    subprocess.run(
        ["cc", "-shared", "-fPIC", str(source), f"-L{tmp_path}", "-lcuda", "-o", str(module), *settings["LDFLAGS"]],
        check=True,
    )

    needed = subprocess.run(["readelf", "-d", str(module)], check=True, capture_output=True, text=True).stdout
    assert "[libcuda.so.1]" in needed
    assert settings["CUDA_ENABLE_CURAND"] is False


@pytest.mark.parametrize("needed", [b"libcuda.so.1", b"libc.so.6"])
def test_wheel_that_does_not_ask_for_the_driver_is_found(tmp_path: Path, needed: bytes) -> None:
    wheel = tmp_path / "pycuda-1-cp312-cp312-linux_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pycuda/_driver.cpython-312.so", b"\x7fELF" + needed)

    assert gpu_wheels.names_driver(wheel) is (needed == b"libcuda.so.1")


def test_toolkit_is_where_the_compiler_says(tmp_path: Path) -> None:
    nvcc, header = tmp_path / "nvcc", tmp_path / "include" / "cuda.h"
    nvcc.write_text(f'#!/bin/sh\necho "#\\$ TOP={tmp_path}/bin/.." >&2\n')
    nvcc.chmod(0o755)
    (tmp_path / "bin").mkdir()

    with pytest.raises(FileNotFoundError, match=r"cuda\.h is missing: install the headers"):
        gpu_wheels.toolkit_of(nvcc)
    header.parent.mkdir()
    header.touch()
    assert gpu_wheels.toolkit_of(nvcc) == tmp_path
