"""`make gpu-check` over an emulated device: `python -m emulation.gpu_check`, as the command and as each of its parts.

Maps and pictures are small; everything else is what runs on a GPU, the tests of tests/gpu included. EMULATED_CRASH and
EMULATED_HANG name parts that go wrong.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from unittest import mock

from emulation.installed import emulated_device

from fastlic.benchmarks import gpu_check, gpu_kernels, gpu_sections, gpu_work
from fastlic.kernels import build_cuda

COMMAND = (sys.executable, "-m", "emulation.gpu_check")


def main() -> None:
    """Run what the command line says."""
    part = sys.argv[sys.argv.index("--run") + 1] if "--run" in sys.argv else ""
    if part in os.environ.get("EMULATED_CRASH", "").split():
        os.kill(os.getpid(), signal.SIGSEGV)
    if part in os.environ.get("EMULATED_HANG", "").split():
        time.sleep(600)
    with (
        emulated_device(),
        mock.patch.dict(os.environ, {"PYTEST_PLUGINS": "emulation.installed"}),
        mock.patch.object(build_cuda, "build", return_value=[]),  # what runs are the sources
        mock.patch.object(gpu_sections, "SIZES", ((64, 64), (64, 128))),
        mock.patch.object(gpu_sections, "shipped", list),
        mock.patch.object(gpu_sections, "DEFORMABLE", gpu_sections.ROOT / "tests/conformance/golden/tiny.licb"),
        mock.patch.object(gpu_kernels, "MAPS", ((8, 8, 8),)),
        mock.patch.object(gpu_kernels, "COPIED", 1 << 16),
        mock.patch.object(gpu_kernels, "LAUNCHES", 2),
        mock.patch.object(gpu_work.Workbench.of_pass, "__defaults__", ((4, 4, 4),)),
    ):
        gpu_check.main(COMMAND)


if __name__ == "__main__":
    main()
